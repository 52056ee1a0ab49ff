"""Draws the prompts on which answers are compared. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_prompts(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Returns `count` of the prompts, drawn by the seed without replacement, in random order; all of them in random order
    if there are not more."""
    order = np.random.default_rng(seed).permutation(len(names))
    return [names[int(place)] for place in order[:count]]
