"""Makes a pair from a record with two labels: the rule says which label orders the two responses."""

from __future__ import annotations

from typing import Literal

from preflab.data.row import DialogueRow
from preflab.data.safety import SafetyRecord

PreferenceRule = Literal["paper", "helpfulness", "safety"]


def is_ordered_by_helpfulness(record: SafetyRecord, rule: PreferenceRule) -> bool:
    """Checks which label orders the responses of a record. By the paper's rule (Section 4.3) the helpfulness label decides
    if both responses are safe, and the safety label otherwise."""
    return rule == "helpfulness" or (rule == "paper" and all(record.safe))


def order_responses(record: SafetyRecord, rule: PreferenceRule) -> DialogueRow:
    """Returns the pair that the rule makes from a record, with the safety label of each answer."""
    better = record.helpful if is_ordered_by_helpfulness(record, rule) else record.safer
    worse = 1 - better
    chosen, rejected = record.responses[better], record.responses[worse]
    return DialogueRow(
        record.prompt, chosen, rejected, chosen_safe=record.safe[better], rejected_safe=record.safe[worse]
    )
