"""Collects the claims that records make. For example, a pair claims that one answer is better than the other (see
`faults.make_claim`).

A record is counted if one of its rows had no fault when the record was read. A later record can still contradict a
claim of this record. The contradicted claims are therefore known only after all records have been read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from preflab.data.faults import make_claim
from preflab.data.row import DialogueRow


class Claims:
    """Counts the records that have at least one row without a fault, and stores their claims. `records`: the number of
    these records."""

    def __init__(self) -> None:
        self.records = 0
        self._single = Counter[int]()
        self._several: list[set[int]] = []

    def add(self, flawless: Sequence[DialogueRow]) -> None:
        """Adds a record. `flawless`: the rows of the record that have no fault. A record without such rows is not
        counted."""
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
        """Returns the number of counted records whose rows are all contradicted by other records. `contradicted`: the
        claims that other records contradict."""
        single = sum(self._single[claim] for claim in contradicted)
        return single + sum(all(claim in contradicted for claim in claims) for claims in self._several)
