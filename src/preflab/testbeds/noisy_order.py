"""Orders answers like a labeller who knows their true rewards but judges with noise."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def draw_order(rng: random.Random, rewards: Sequence[float], noise: float) -> list[int]:
    """Draws an order of answers from the best to the worst, and returns the places of the answers in this order.

    The order follows the Plackett-Luce model. Of the answers that remain, answer i is the next with a probability in
    proportion to exp(reward_i / noise). For two answers, this is the Bradley-Terry model: the first answer is preferred
    with probability sigmoid((reward_0 - reward_1) / noise). With noise 0, the order follows the rewards exactly, and
    chance decides between equal rewards."""
    luck = [-math.log(-math.log(rng.random() or 0.5)) for _ in rewards]  # draws from the Gumbel distribution
    if noise > 0:
        keys = [(reward + noise * gumbel, gumbel) for reward, gumbel in zip(rewards, luck, strict=True)]
    else:
        keys = list(zip(rewards, luck, strict=True))
    return sorted(range(len(rewards)), key=keys.__getitem__, reverse=True)
