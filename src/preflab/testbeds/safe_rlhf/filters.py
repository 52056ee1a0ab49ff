"""Applies filters to pairs of answers. The filters come from Section 4.3 of Xu et al. 2024, "Is DPO Superior to PPO for
LLM Alignment?". The filter `dual-unsafe` drops pairs whose answers are both unsafe. The filter `dual-safe` drops pairs
whose answers are both safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from preflab.data.row import DialogueRow
from preflab.data.safety_rule import SafetyFilter, keep_after_filters

_REASONS: dict[SafetyFilter, str] = {
    "dual-unsafe": "both responses are unsafe",
    "dual-safe": "both responses are safe",
}


class FilterCount(NamedTuple):
    """The numbers of pairs that a filter kept and dropped."""

    name: SafetyFilter
    kept: int
    dropped: int

    def describe(self) -> str:
        """Returns a sentence with the counts."""
        of = self.kept + self.dropped
        return (
            f"filter {self.name}: {self.kept} of {of} pairs kept, {self.dropped} dropped because {_REASONS[self.name]}."
        )


def filter_pairs(
    rows: Sequence[DialogueRow], names: Iterable[SafetyFilter]
) -> tuple[list[DialogueRow], list[FilterCount]]:
    """Applies the filters to the pairs among the rows, one filter after another. If a pair is dropped, its row keeps
    only the prompt. Returns all rows in the same order, and the counts of each filter. Every pair must have a safety
    label for each answer."""
    kept, counts = list(rows), list[FilterCount]()
    for name in names:
        pairs = sum(_is_pair(row) for row in kept)
        kept = [DialogueRow(row.prompt) if _is_dropped(row, name) else row for row in kept]
        left = sum(_is_pair(row) for row in kept)
        counts.append(FilterCount(name, left, pairs - left))
    return kept, counts


def _is_dropped(row: DialogueRow, name: SafetyFilter) -> bool:
    return _is_pair(row) and not keep_after_filters([name], (bool(row.safe[0]), bool(row.safe[1])))


def _is_pair(row: DialogueRow) -> bool:
    return row.answer is not None and row.rejected is not None
