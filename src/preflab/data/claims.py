"""Keeps what the records without a fault claim, until it is known which claims later records contradict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from preflab.data.faults import make_claim
from preflab.data.row import DialogueRow


class Claims:
    """The records that had a row without a fault when they were read. `records`: how many there are."""

    def __init__(self) -> None:
        self.records = 0
        self._single = Counter[int]()
        self._several: list[set[int]] = []

    def add(self, flawless: Sequence[DialogueRow]) -> None:
        """Adds a record by its rows without a fault. A record without such a row is not kept."""
        self.records += bool(flawless)
        claims = {make_claim(row) for row in flawless}
        stated = {claim for claim in claims if claim is not None}
        if len(stated) < len(claims):
            return
        if len(stated) == 1:
            self._single.update(stated)
        elif stated:
            self._several.append(stated)

    def count_lost(self, contradicted: Collection[int]) -> int:
        """Returns how many of the records have no row left that nothing contradicts."""
        single = sum(self._single[claim] for claim in contradicted)
        return single + sum(all(claim in contradicted for claim in claims) for claims in self._several)
