"""Checks whether a model's chat template accepts a row, that is, a prompt and its answers."""

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

NOT_TAKEN = "the model's chat template does not accept it"
BRACKETS = re.compile("[<>\\[\\]{}|]")
LONG_TEXT = (
    'Is it so? "No", it\'s 2 & 3: `a_b` = #1*2;\n\n    See\tC:\\x  or\r\n%d $5 ~ \u00e9\u2013\U0001f600.\nend ' * 1000
    + "end"
)
"""A long text with all characters that chat templates usually replace, except brackets."""
REWRITTEN = "the model's chat template changes its answer"


class Refusal(NamedTuple):
    """The reason why a model's chat template does not accept a row. `fault`: a description that is the same for all
    rows with this fault, so that such rows can be counted. `reason`: sentences for the error message about this row."""

    fault: str
    reason: str


class RefusalFinder:
    """Finds the rows that a chat template refuses, without rendering every row. Rows with plain texts and the same
    sequence of roles form a group. After the template has accepted one row of a group, a dialogue with the same roles
    is rendered in which every text is `LONG_TEXT`. If the template accepts this dialogue, the other rows of the group
    are not rendered. If the template refuses this dialogue, every row of the group is rendered.

    This check is sufficient, because templates react only to roles, to blank texts, to names in brackets (`<think>`,
    `[INST]`), and to the characters in `LONG_TEXT`."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._taken: dict[tuple[bool, tuple[str, ...]], bool] = {}

    def find(self, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
        """Returns the same result as `find_refusal` for a prompt and its answers."""
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
    """Returns True if the template accepts a dialogue in which every turn of the prompt and the answer are `LONG_TEXT`.
    The turns have the same roles as in `prompt`."""
    turns = tuple(replace(turn, content=LONG_TEXT) for turn in prompt.turns)
    return find_refusal(lm, replace(prompt, turns=turns), [Completion(LONG_TEXT)]) is None


def find_refusal(lm: LanguageModel, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
    """Returns the reason why the model's chat template does not accept the prompt with these answers. Returns None if
    the template accepts them.

    An answer that the template changes (see `models.rewriting`) cannot be appended to the encoded prompt, and is
    refused. An answer whose drawn ids can be used is not checked, because its text is not encoded. If no other answer
    is given, a short answer is checked. A prompt is refused too if the template changes every answer to it. The text
    that the template writes before any answer then differs from the generation prompt and the header.
    """
    texts = [answer.text for answer in answers if not lm.drawn_ids(answer)] or [ANSWER.content]
    try:
        render_prompt(lm.tokenizer, lm.form, prompt.turns)
        changed = any(is_rewritten(lm, prompt.turns, text) for text in texts)
        always = changed and is_rewritten(lm, prompt.turns, ANSWER.content)
    except Exception as error:  # the template of a downloaded model can raise any exception
        return Refusal(NOT_TAKEN, f"The model's chat template does not accept it: {first_line(error).rstrip('.')}.")
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
        f"The model's chat template {before} this answer in a changed form. The answer may contain reasoning, or characters "
        "that the template replaces or cuts. Remove them from the answers.",
    )
