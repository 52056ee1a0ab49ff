"""Finds out whether a model's chat template takes a row: its prompt and its answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from preflab.models.chat import render_prompt
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.models.rewriting import is_rewritten
from preflab.types import Completion, Prompt

NOT_TAKEN = "the model's chat template does not take it"
BRACKETS = re.compile("[<>\\[\\]{}|]")
REWRITTEN = "the model's chat template writes its answer in another way"


class Refusal(NamedTuple):
    """Why a model's chat template does not take a row. `fault`: the name of the fault, by which rows are counted.
    `reason`: a sentence about this row."""

    fault: str
    reason: str


class RefusalFinder:
    """Finds the refusals of many rows. Among rows whose texts are plain, only the first row of each series of roles is
    rendered: a template reacts to roles, to blank texts, and to names between brackets (`<think>`, `[INST]`)."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._taken: set[tuple[bool, tuple[str, ...]]] = set()

    def find(self, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
        """Returns the same as `find_refusal`."""
        kind = (bool(answers), tuple(turn.role for turn in prompt.turns))
        plain = all(_is_plain(turn.content) for turn in prompt.turns) and all(_is_plain(each.text) for each in answers)
        if plain and kind in self._taken:
            return None
        refusal = find_refusal(self.lm, prompt, answers)
        if plain and refusal is None:
            self._taken.add(kind)
        return refusal


def _is_plain(text: str) -> bool:
    return not (text.isspace() or not text or BRACKETS.search(text))


def find_refusal(lm: LanguageModel, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
    """Returns why the model's chat template does not take the prompt with these answers; None if it takes them.

    An answer that the template writes in another way (`models.rewriting`) cannot be encoded behind its prompt.
    """
    try:
        render_prompt(lm.tokenizer, lm.form, prompt.turns)
        changed = any(is_rewritten(lm, prompt.turns, answer.text) for answer in answers if not lm.drawn_ids(answer))
    except Exception as error:  # the template of a downloaded model may raise any exception
        return Refusal(NOT_TAKEN, f"The model's chat template does not take it: {first_line(error).rstrip('.')}.")
    if not changed:
        return None
    written = lm.form.header.strip()
    return Refusal(
        REWRITTEN,
        f"The model's chat template writes {written!r} before an answer, but it writes something else for this answer, which "
        "may contain reasoning. Remove the reasoning from the answers.",
    )
