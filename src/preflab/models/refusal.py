"""Finds out whether a model's chat template accepts a row, that is, a prompt and its answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from preflab.models.chat import render_prompt
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.models.rewriting import is_rewritten
from preflab.models.template import ANSWER
from preflab.types import Completion, Prompt

NOT_TAKEN = "the model's chat template does not take it"
BRACKETS = re.compile("[<>\\[\\]{}|]")
LONG_TEXT = (
    'Is it so? "No", it\'s 2 & 3: `a_b` = #1*2;\n\n    See\tC:\\x  or\r\n%d $5 ~ \u00e9\u2013\U0001f600.\nend ' * 1000
    + "end"
)
"""A long text with the characters that templates replace, apart from brackets."""
REWRITTEN = "the model's chat template writes its answer in another way"


class Refusal(NamedTuple):
    """Why a model's chat template does not take a row. `fault`: the name of the fault, by which rows are counted.
    `reason`: a sentence about this row."""

    fault: str
    reason: str


class RefusalFinder:
    """Finds the refusals of many rows without rendering each row. Rows with plain texts form a group if they have the
    same series of roles. When the template has accepted one row of a group, the same roles are rendered with
    `LONG_TEXT` in place of each text. If the template accepts that too, the rest of the group is not rendered.
    Otherwise, every row of the group is rendered.

    This suffices because a template reacts only to roles, to blank texts, to names between brackets (`<think>`,
    `[INST]`), and to what `LONG_TEXT` contains."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._taken: dict[tuple[bool, tuple[str, ...]], bool] = {}

    def find(self, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
        """Returns the same as `find_refusal`."""
        kind = (bool(answers), tuple(turn.role for turn in prompt.turns))
        plain = all(_is_plain(turn.content) for turn in prompt.turns) and all(_is_plain(each.text) for each in answers)
        if plain and self._taken.get(kind):
            return None
        refusal = find_refusal(self.lm, prompt, answers)
        if plain and refusal is None and kind not in self._taken:
            self._taken[kind] = _takes_long_text(self.lm, prompt)
        return refusal


def _is_plain(text: str) -> bool:
    return not (text.isspace() or not text or BRACKETS.search(text))


def _takes_long_text(lm: LanguageModel, prompt: Prompt) -> bool:
    """Returns whether the template takes `LONG_TEXT` as every turn of a prompt with these roles, and as the answer."""
    turns = tuple(replace(turn, content=LONG_TEXT) for turn in prompt.turns)
    return find_refusal(lm, replace(prompt, turns=turns), [Completion(LONG_TEXT)]) is None


def find_refusal(lm: LanguageModel, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
    """Returns why the model's chat template does not take the prompt with these answers; None if it takes them.

    An answer that the template writes in another way (see `models.rewriting`) cannot be appended to its encoded prompt.
    If no answer's text must be encoded, a short answer is checked instead. For some prompts, the text that the template
    writes before an answer, whatever the answer, differs from the generation prompt and the header.
    """
    texts = [answer.text for answer in answers if not lm.drawn_ids(answer)] or [ANSWER.content]
    try:
        render_prompt(lm.tokenizer, lm.form, prompt.turns)
        changed = any(is_rewritten(lm, prompt.turns, text) for text in texts)
        always = changed and is_rewritten(lm, prompt.turns, ANSWER.content)
    except Exception as error:  # the template of a downloaded model may raise any exception
        return Refusal(NOT_TAKEN, f"The model's chat template does not take it: {first_line(error).rstrip('.')}.")
    if not changed:
        return None
    if always:
        return Refusal(
            REWRITTEN,
            "The policy reads the chat template's generation prompt before it answers. After this prompt, however, the "
            "template writes something else before an answer. Change the turns of the prompt.",
        )
    written = lm.form.header.strip()
    before = f"writes {written!r} before an answer, but it writes" if written else "writes"
    return Refusal(
        REWRITTEN,
        f"The model's chat template {before} something else for this answer, which may contain reasoning, or characters "
        "that the template replaces or cuts. Remove them from the answers.",
    )
