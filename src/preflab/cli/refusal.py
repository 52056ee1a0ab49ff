"""Names the reason for which a model does not take a row of data."""

from __future__ import annotations

from preflab.data.faults import list_answers
from preflab.data.row import DialogueRow
from preflab.models.lm import LanguageModel
from preflab.models.refusal import find_refusal


def name_refusal(model: LanguageModel, row: DialogueRow) -> str:
    """Returns the name of the fault for which the model's chat template does not take the row; ''
    if it takes it."""
    refusal = find_refusal(model, row.prompt, list_answers(row))
    return refusal.fault if refusal else ""
