"""Derives the seed of every random draw from the run's seed and the name of the draw, by a hash.

No state of a random generator is kept between draws. A draw therefore does not depend on earlier draws, and a crash
loses no random state.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from preflab.errors import UserError

_Row = TypeVar("_Row")


class Seeds:
    """Makes a seed for each random draw of a run. A draw is identified by its name, as in `seeds.derive("rollout", 7,
    3)`."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._last_orders = lru_cache(maxsize=2)(self._shuffle)  # all steps of a pass need the same order

    def derive(self, *name: str | int) -> int:
        """Returns a seed in [0, 2^63) for the draw of this name."""
        text = "/".join(str(part) for part in (self.seed, *name))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def generator(self, *name: str | int) -> random.Random:
        """Returns a random generator for the draw of this name."""
        return random.Random(self.derive(*name))

    def permute(self, size: int, *name: str | int) -> tuple[int, ...]:
        """Returns a random permutation of range(size) for the draw of this name."""
        return self._last_orders(size, *name)

    def _shuffle(self, size: int, *name: str | int) -> tuple[int, ...]:
        order = list(range(size))
        self.generator(*name).shuffle(order)
        return tuple(order)

    def draw(self, rows: Sequence[_Row], count: int, name: str) -> list[_Row]:
        """Draws `count` of the rows at random. All calls of one run with the same `name` and the same number of rows
        draw the same rows. If `count` is 0, returns all rows in random order. Raises `UserError` if there are fewer
        than `count` rows, because the arms of a study must learn from equal numbers of rows."""
        if count > len(rows):
            raise UserError(
                f"The run needs {count:,} {name}, but there are only {len(rows):,}. Use fewer, or 0 for all."
            )
        order = self.permute(len(rows), "drawn", name)
        return [rows[i] for i in order[: count or len(rows)]]

    def take_batch(self, step: int, size: int, batch_size: int) -> list[int]:
        """Returns the indices of the rows for `step` in an endless series of shuffled passes over `size` rows. The last
        batch of a pass can have fewer than `batch_size` rows."""
        per_pass = max(1, math.ceil(size / batch_size))
        order = self.permute(size, "pass", step // per_pass)
        place = step % per_pass
        return list(order[place * batch_size : (place + 1) * batch_size])

    def take_exactly(self, step: int, size: int, count: int) -> list[int]:
        """Returns the indices of exactly `count` rows for `step`, from an endless series of shuffled passes over `size`
        rows."""
        places = range(step * count, (step + 1) * count)
        passes = {n: self.permute(size, "pass", n) for n in {place // size for place in places}}
        return [passes[place // size][place % size] for place in places]
