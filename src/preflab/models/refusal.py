"""Finds out whether a model's chat template takes a row: its prompt and its answers."""

from __future__ import annotations

from typing import NamedTuple

from preflab.models.chat import render_prompt
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.types import Prompt

NOT_TAKEN = "the model's chat template does not take it"


class Refusal(NamedTuple):
    """Why a model's chat template does not take a row. `fault`: the name of the fault, by which rows are counted.
    `reason`: a sentence about this row."""

    fault: str
    reason: str


def find_refusal(lm: LanguageModel, prompt: Prompt) -> Refusal | None:
    """Returns why the model's chat template does not take the prompt; None if it takes it."""
    try:
        render_prompt(lm.tokenizer, lm.form, prompt.turns)
    except Exception as error:  # the template of a downloaded model may raise any exception
        return Refusal(NOT_TAKEN, f"The model's chat template does not take it: {first_line(error).rstrip('.')}.")
    return None
