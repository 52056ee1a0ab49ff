"""Draws the prompts on which answers are compared. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_prompts(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Returns `count` of the prompts in random order, drawn by the seed without replacement. If there are at most
    `count` prompts, returns all prompts in random order."""
    order = np.random.default_rng(seed).permutation(len(names))
    return [names[int(place)] for place in order[:count]]
