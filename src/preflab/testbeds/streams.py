"""Makes named random generators for the embedded testbeds. A generator gives the same numbers on every machine."""

from __future__ import annotations

import hashlib
import math
import random


def make_stream(seed: int, *names: object) -> random.Random:
    """Returns a random generator that depends only on the seed and the names. The generator gives the same numbers on
    every machine."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def is_in_share(share: float, place: int) -> bool:
    """Checks whether the item at index `place` of a list is selected. `share`: the fraction of items to select. Of the
    first n items, n times `share` are selected, rounded down. The selected items are therefore evenly spread, and the
    selection among the first n items does not depend on the length of the list."""
    return math.floor((place + 1) * share) > math.floor(place * share)
