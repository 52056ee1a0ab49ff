"""Simulates a labeller who orders answers by their true rewards, but makes random errors."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def draw_order(rng: random.Random, rewards: Sequence[float], noise: float) -> list[int]:
    """Draws a random order of answers, and returns the indices of the answers from the best to the worst.

    The order follows the Plackett-Luce model. At each step, answer i is drawn from the remaining answers with a
    probability proportional to exp(reward_i / noise). For two answers, this is the Bradley-Terry model: the first
    answer is preferred with probability sigmoid((reward_0 - reward_1) / noise). With noise 0, the order follows the
    rewards exactly, and answers with equal rewards are ordered at random.
    """
    # Gumbel random numbers: the order by reward plus `noise` times such a number follows the Plackett-Luce model
    luck = [-math.log(-math.log(rng.random() or 0.5)) for _ in rewards]
    if noise > 0:
        keys = [(reward + noise * gumbel, gumbel) for reward, gumbel in zip(rewards, luck, strict=True)]
    else:
        keys = list(zip(rewards, luck, strict=True))
    return sorted(range(len(rewards)), key=keys.__getitem__, reverse=True)
