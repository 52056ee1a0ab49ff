"""Describes SafeRLHF's records in the sentences that every report prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from preflab.data.row import DialogueRow
from preflab.data.safety import SafetyRecord, name_safety
from preflab.data.safety_rule import SafetyRule
from preflab.testbeds.safe_rlhf.filters import FilterCount
from preflab.testbeds.safe_rlhf.records import list_safe
from preflab.text import counted

_RULES = {
    "paper": "{helpful} by helpfulness, because both responses are safe, and {safer} by safety",
    "helpfulness": "all by helpfulness alone",
    "safety": "all by safety alone",
}
SPLIT_AGAIN = (
    "all records, including the official test records, were split again by prompt; the counts of records, pairs and "
    "responses in these notes are of the whole source."
)


def describe_records(
    records: Sequence[SafetyRecord | DialogueRow], rule: SafetyRule, filters: Sequence[FilterCount]
) -> list[str]:
    """Returns sentences about the records that can be used: the labels, what the rule and each filter did, and what is not
    known."""
    labelled = [record for record in records if isinstance(record, SafetyRecord)]
    notes = [*_describe_labels(labelled, rule), *(count.describe() for count in filters)]
    ordered = sum(isinstance(record, DialogueRow) and record.rejected is not None for record in records)
    if ordered:
        notes.append(
            f"{counted(ordered, 'pair')} ordered by safety alone. Which response is safe is not known: these pairs train "
            "pairwise methods alone, no response of theirs is a demonstration, and no filter applies."
        )
    if safe := sum(len(list_safe(record)) for record in records):
        notes.append(
            f"{counted(safe, 'safe response')} as demonstrations. Rule and filters change neither these nor the prompts."
        )
    return [*notes, SPLIT_AGAIN]


def _describe_labels(records: Sequence[SafetyRecord], rule: SafetyRule) -> list[str]:
    if not records:
        return []
    safety = Counter(name_safety(record.safe) for record in records)
    parts = ", ".join(f"{safety[name]:,} {name}" for name in ("both safe", "one safe", "both unsafe"))
    contrary = sum(record.helpful != record.safer for record in records)
    decided = _RULES[rule].format(helpful=f"{safety['both safe']:,}", safer=f"{len(records) - safety['both safe']:,}")
    return [
        f"{counted(len(records), 'record')} with both labels: {parts}. In {contrary:,} the more helpful response is not the "
        "safer one.",
        f"rule {rule}: {counted(len(records), 'pair')} ordered, {decided}.",
    ]
