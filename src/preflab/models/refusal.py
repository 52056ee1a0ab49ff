"""Finds out whether a model's chat template takes a row: its prompt and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from preflab.models.chat import render, render_prompt
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.types import Completion, Prompt, Turn

NOT_TAKEN = "the model's chat template does not take it"
REWRITTEN = "the model's chat template writes its answer in another way"


class Refusal(NamedTuple):
    """Why a model's chat template does not take a row. `fault`: the name of the fault, by which rows are counted.
    `reason`: a sentence about this row."""

    fault: str
    reason: str


def find_refusal(lm: LanguageModel, prompt: Prompt, answers: Sequence[Completion]) -> Refusal | None:
    """Returns why the model's chat template does not take the prompt with these answers; None if it takes them.

    The prompt's ids contain the form's header, such as an empty block of reasoning. If a template moves the reasoning of
    an answer into this block, its text is not the header followed by the answer, so the row cannot be encoded.
    """
    try:
        render_prompt(lm.tokenizer, lm.form, prompt.turns)
        written = lm.form.header.strip()
        changed = written and any(_is_rewritten(lm, prompt, answer) for answer in answers if not lm.drawn_ids(answer))
    except Exception as error:  # the template of a downloaded model may raise any exception
        return Refusal(NOT_TAKEN, f"The model's chat template does not take it: {first_line(error).rstrip('.')}.")
    if not changed:
        return None
    return Refusal(
        REWRITTEN,
        f"The model's chat template writes {written!r} before an answer, but it writes something else for this answer, which "
        "may contain reasoning. Remove the reasoning from the answers.",
    )


def _is_rewritten(lm: LanguageModel, prompt: Prompt, answer: Completion) -> bool:
    """Returns whether the template's text after the prompt differs from its header and the answer. White space around
    the answer is ignored, since some templates trim it."""
    whole = render(lm.tokenizer, lm.form, [*prompt.turns, Turn("assistant", answer.text)], ask=False)
    asked = render(lm.tokenizer, lm.form, prompt.turns, ask=True) + lm.form.header
    return not (whole.startswith(asked) and whole[len(asked) :].lstrip().startswith(answer.text.strip()))
