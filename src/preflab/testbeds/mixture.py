"""Draws a mixture of pairs from several subsets. The mixture takes a given share or a given count of each subset's
pairs.

The draw depends only on the seed and on the texts of the pairs. It does not depend on the order of the files. With the
same seed, a larger amount of a subset contains all pairs of a smaller amount.
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
"""An integer is a count of pairs. A number with a decimal point is a share of the pairs."""
SubsetRow = tuple[str, DialogueRow]
"""The subset of a pair, and the pair."""
_IN_RANGE = refuse_value(
    lambda mixture: any(amount <= 0 or (isinstance(amount, float) and amount > 1) for amount in mixture.values()),
    "an amount must be a share above 0 and up to 1.0, or a whole number of pairs",
)
_NOT_ONE = refuse_value(
    lambda mixture: any(isinstance(amount, int) and amount == 1 for amount in mixture.values()),
    "the amount 1 may mean one pair or all pairs; write 1.0 for all pairs",
)
Mixture = Annotated[dict[str, Amount], _IN_RANGE, _NOT_ONE]


class SubsetDraw(NamedTuple):
    """The draw from one subset. The subset has `present` pairs, of which `taken` are in the mixture."""

    subset: str
    taken: int
    present: int


def draw_mixture(
    rows: Sequence[SubsetRow], mixture: Mapping[str, Amount], seed: int, where: str
) -> tuple[list[SubsetRow], list[SubsetDraw]]:
    """Returns the pairs of the mixture, in the order of `rows`, and the number of pairs taken from each subset. Raises
    `UserError` if a subset has too few pairs, or if the share of a subset is less than one pair."""
    kept: set[int] = set()
    drawn: list[SubsetDraw] = []
    for subset, amount in mixture.items():
        own = [place for place, (name, _) in enumerate(rows) if name == subset]
        count = amount if isinstance(amount, int) else round(amount * len(own))
        if not 0 < count <= len(own):
            raise UserError(
                f"{where}: `mixture` wants {amount} of {subset}, which has {len(own)} training pairs. Choose an amount that "
                "takes at least one pair and at most all of them."
            )
        kept.update(sorted(own, key=lambda place: _place_pair(rows[place][1], seed))[:count])
        drawn.append(SubsetDraw(subset, count, len(own)))
    return [row for place, row in enumerate(rows) if place in kept], drawn


def _place_pair(row: DialogueRow, seed: int) -> float:
    texts = [row.prompt.id, *(answer.text for answer in (row.answer, row.rejected) if answer is not None)]
    return place_key(hashlib.sha256(json.dumps(texts).encode()).hexdigest(), f"mixture:{seed}")
