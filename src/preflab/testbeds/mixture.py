"""Draws training pairs from several subsets. From each subset, the draw takes a given number of pairs or a given
fraction of the pairs.

The draw depends only on the seed and on the texts of the pairs. It does not depend on the order of the files. With the
same seed, a draw of more pairs from a subset contains all pairs of a smaller draw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.testbeds.parts import refuse_value
from preflab.testbeds.provenance import place_key

Amount = int | float
"""The amount of pairs to draw from a subset. An integer is a number of pairs. A number with a decimal point is a
fraction of the subset's pairs."""
SubsetRow = tuple[str, DialogueRow]
"""The name of a subset, and a pair from this subset."""
_IN_RANGE = refuse_value(
    lambda mixture: any(amount <= 0 or (isinstance(amount, float) and amount > 1) for amount in mixture.values()),
    "an amount must be a share above 0 and up to 1.0, or a whole number of pairs",
)
_NOT_ONE = refuse_value(
    lambda mixture: any(isinstance(amount, int) and amount == 1 for amount in mixture.values()),
    "the amount 1 could mean one pair or all pairs; write 1.0 for all pairs",
)
Mixture = Annotated[dict[str, Amount], _IN_RANGE, _NOT_ONE]


class SubsetDraw(NamedTuple):
    """The result of the draw from one subset. `taken`: the number of pairs that were drawn. `present`: the number of
    pairs in the subset."""

    subset: str
    taken: int
    present: int


def draw_mixture(
    rows: Sequence[SubsetRow], mixture: Mapping[str, Amount], seed: int, where: str
) -> tuple[list[SubsetRow], list[SubsetDraw]]:
    """Returns the drawn pairs in the order of `rows`, and the counts for each subset. Raises `UserError` if a subset
    has too few pairs, or if the fraction of a subset amounts to less than one pair."""
    kept: set[int] = set()
    drawn: list[SubsetDraw] = []
    for subset, amount in mixture.items():
        own = [place for place, (name, _) in enumerate(rows) if name == subset]
        count = amount if isinstance(amount, int) else round(amount * len(own))
        if not 0 < count <= len(own):
            raise UserError(
                f"{where}: `mixture` sets the amount {amount} for {subset}, which has {len(own)} training pairs. Choose an "
                "amount of at least one pair and at most all pairs."
            )
        kept.update(sorted(own, key=lambda place: _place_pair(rows[place][1], seed))[:count])
        drawn.append(SubsetDraw(subset, count, len(own)))
    return [row for place, row in enumerate(rows) if place in kept], drawn


def _place_pair(row: DialogueRow, seed: int) -> float:
    texts = [row.prompt.id, *(answer.text for answer in (row.answer, row.rejected) if answer is not None)]
    return place_key(hashlib.sha256(json.dumps(texts).encode()).hexdigest(), f"mixture:{seed}")
