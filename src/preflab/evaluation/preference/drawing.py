"""Draws the prompts whose answers are compared. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_prompts(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Draws `count` prompts at random without replacement, and returns them in random order. If there are at most
    `count` prompts, returns all prompts in random order. The result depends only on the arguments."""
    order = np.random.default_rng(seed).permutation(len(names))
    return [names[int(place)] for place in order[:count]]
