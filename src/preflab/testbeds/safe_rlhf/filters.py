"""The paper's two filters (Section 4.3): each drops the pairs whose two answers have the same safety label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from preflab.data.row import DialogueRow

FilterName = Literal["dual-unsafe", "dual-safe"]


class PairFilter(NamedTuple):
    """`drops`: whether a pair is dropped; its arguments say whether the chosen and the rejected answer are safe. `why`: the
    reason in words."""

    drops: Callable[[bool, bool], bool]
    why: str


FILTERS: dict[FilterName, PairFilter] = {
    "dual-unsafe": PairFilter(lambda chosen, rejected: not (chosen or rejected), "both responses are unsafe"),
    "dual-safe": PairFilter(lambda chosen, rejected: chosen and rejected, "both responses are safe"),
}


class FilterCount(NamedTuple):
    """How many pairs a filter kept and dropped."""

    name: FilterName
    kept: int
    dropped: int

    def describe(self) -> str:
        """Returns the counts as a sentence."""
        of = self.kept + self.dropped
        return f"filter {self.name}: {self.kept} of {of} pairs kept, {self.dropped} dropped because {FILTERS[self.name].why}."


def filter_pairs(
    rows: Sequence[DialogueRow], names: Iterable[FilterName]
) -> tuple[list[DialogueRow], list[FilterCount]]:
    """Applies filters to the pairs among the rows, one after another. Of a dropped pair only the prompt stays. Returns the
    rows in the same order, and the counts of each filter. Every pair must say for both answers whether they are safe."""
    kept, counts = list(rows), list[FilterCount]()
    for name in names:
        pairs = sum(_is_pair(row) for row in kept)
        kept = [DialogueRow(row.prompt) if _is_dropped(row, FILTERS[name]) else row for row in kept]
        left = sum(_is_pair(row) for row in kept)
        counts.append(FilterCount(name, left, pairs - left))
    return kept, counts


def _is_dropped(row: DialogueRow, filter: PairFilter) -> bool:
    return _is_pair(row) and filter.drops(bool(row.chosen_safe), bool(row.rejected_safe))


def _is_pair(row: DialogueRow) -> bool:
    return row.answer is not None and row.rejected is not None
