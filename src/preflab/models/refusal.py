"""Finds out whether a model's chat template takes a row: its prompt and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from preflab.models.chat import render_prompt
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.models.rewriting import is_rewritten
from preflab.types import Completion, Prompt

NOT_TAKEN = "the model's chat template does not take it"
REWRITTEN = "the model's chat template writes its answer in another way"


class Refusal(NamedTuple):
    """Why a model's chat template does not take a row. `fault`: the name of the fault, by which rows are counted.
    `reason`: a sentence about this row."""

    fault: str
    reason: str


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
