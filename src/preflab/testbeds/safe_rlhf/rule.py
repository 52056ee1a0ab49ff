"""Makes a pair from a record with labels for helpfulness and for safety. A rule (see `SafetyRule`) decides which of the
two labels orders the two responses."""

from __future__ import annotations

from preflab.data.row import DialogueRow
from preflab.data.safety import SafetyRecord
from preflab.data.safety_rule import SafetyRule, decide_by_rule


def order_responses(record: SafetyRecord, rule: SafetyRule) -> DialogueRow:
    """Returns a record as a pair of a chosen and a rejected response. `rule`: decides which response is chosen. The
    pair keeps the safety label of each response."""
    better = decide_by_rule(rule, better=record.helpful, safer=record.safer, safe=record.safe)
    worse = 1 - better
    chosen, rejected = record.responses[better], record.responses[worse]
    return DialogueRow(record.prompt, chosen, rejected, safe=(record.safe[better], record.safe[worse]))
