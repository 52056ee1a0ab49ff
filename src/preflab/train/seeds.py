"""Randomness by name: every draw has a name, and its seed is a hash of the run's seed and that name.

No generator's state is kept between draws. A crash therefore loses no state, and a draw does not depend on the draws before
it.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

from preflab.errors import UserError

_Row = TypeVar("_Row")


class Seeds:
    """The named draws of one run: `seeds.derive("rollout", 7, 3)`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def derive(self, *name: str | int) -> int:
        """A seed in [0, 2^63) for a named draw."""
        text = "/".join(str(part) for part in (self.seed, *name))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def generator(self, *name: str | int) -> random.Random:
        """A generator for a named draw."""
        return random.Random(self.derive(*name))

    def permute(self, size: int, *name: str | int) -> list[int]:
        """A permutation of range(size) for a named draw."""
        order = list(range(size))
        self.generator(*name).shuffle(order)
        return order

    def draw(self, rows: Sequence[_Row], count: int, name: str) -> list[_Row]:
        """Draws `count` of the rows, once for the run, or takes all rows if `count` is 0. Raises `UserError` if there are
        fewer rows, because arms that should learn from equally many rows would then not do so."""
        if count > len(rows):
            raise UserError(
                f"{count:,} {name} are asked for, and there are {len(rows):,}: ask for fewer, or 0 for all."
            )
        order = self.permute(len(rows), "drawn", name)
        return [rows[i] for i in order[: count or len(rows)]]

    def take_batch(self, step: int, size: int, batch_size: int) -> list[int]:
        """The rows of `step` in an endless series of shuffled passes over `size` rows; a pass's last batch may be short."""
        per_pass = max(1, math.ceil(size / batch_size))
        order = self.permute(size, "pass", step // per_pass)
        place = step % per_pass
        return order[place * batch_size : (place + 1) * batch_size]

    def take_exactly(self, step: int, size: int, count: int) -> list[int]:
        """Exactly `count` rows for `step`, from an endless series of shuffled passes over `size` rows."""
        places = range(step * count, (step + 1) * count)
        passes = {n: self.permute(size, "pass", n) for n in {place // size for place in places}}
        return [passes[place // size][place % size] for place in places]
