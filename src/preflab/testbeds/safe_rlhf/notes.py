"""Writes the notes about SafeRLHF's records that every report prints."""

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
    "all records, including the official test records, were split again by prompt. In these notes, the counts of records, "
    "pairs and responses refer to the whole source."
)


def describe_records(
    records: Sequence[SafetyRecord | DialogueRow], rule: SafetyRule, filters: Sequence[FilterCount]
) -> list[str]:
    """Returns notes about the usable records. The notes describe the labels, the effect of the rule that orders the
    pairs, the effect of each filter, and the labels that some records do not have."""
    labelled = [record for record in records if isinstance(record, SafetyRecord)]
    notes = [*_describe_labels(labelled, rule), *(count.describe() for count in filters)]
    ordered = sum(isinstance(record, DialogueRow) and record.rejected is not None for record in records)
    if ordered:
        notes.append(
            f"{counted(ordered, 'pair')} ordered by safety alone. These pairs do not show which response is safe. They "
            "train only pairwise methods, give no demonstrations, and are not filtered."
        )
    if safe := sum(len(list_safe(record)) for record in records):
        notes.append(
            f"{counted(safe, 'safe response')} used as demonstrations. The rule and the filters do not change the "
            "demonstrations or the prompts."
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
        f"{counted(len(records), 'record')} with both labels: {parts}. In {contrary:,} of them, the more helpful response is "
        "not the safer one.",
        f"rule {rule}: {counted(len(records), 'pair')} ordered, {decided}.",
    ]
