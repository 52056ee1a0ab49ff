"""Names the reason why the chat template of a model rejects a row of data."""

from __future__ import annotations

from preflab.data.faults import list_answers
from preflab.data.row import DialogueRow
from preflab.models.refusal import RefusalFinder


def name_refusal(finder: RefusalFinder, row: DialogueRow) -> str:
    """Returns the name of the fault if the model's chat template rejects the row, and '' if the template accepts the
    row."""
    refusal = finder.find(row.prompt, list_answers(row))
    return refusal.fault if refusal else ""
