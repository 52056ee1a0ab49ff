"""Names the reason why a model does not take a row of data."""

from __future__ import annotations

from preflab.data.faults import list_answers
from preflab.data.row import DialogueRow
from preflab.models.refusal import RefusalFinder


def name_refusal(finder: RefusalFinder, row: DialogueRow) -> str:
    """Returns the name of the fault for which the model's chat template refuses the row; '' if the template takes the
    row."""
    refusal = finder.find(row.prompt, list_answers(row))
    return refusal.fault if refusal else ""
