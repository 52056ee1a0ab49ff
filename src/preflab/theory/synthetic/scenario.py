"""The data of the synthetic scenario: the compared pairs, and the responses that no pair holds.

X = 8 prompts, Y = 8 responses. The best response of prompt x is response x; the others are ranked at random. Of each
prompt k responses are *covered*, the best one among them; both responses of every pair are covered, and the better one
is preferred. Everything is stacked over S seeds: the first axis of every tensor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PROMPTS = RESPONSES = 8
PAIRS_PER_PROMPT = 8


class ComparedPairs(NamedTuple):
    """Pairs as indices of a prompt, its preferred response and the other one: [S,P] each, [P] for one seed."""

    prompt: Tensor
    better: Tensor
    worse: Tensor


class Scenario(NamedTuple):
    """`covered[S,X,Y]` Bool: some pair holds the response."""

    covered: Tensor
    pairs: ComparedPairs


def covered_responses(coverage: float) -> int:
    """k, the number of covered responses of a prompt: at least the two that make a pair."""
    return max(2, round(coverage * RESPONSES))


def draw_scenario(coverage: float, *, seeds: int, seed: int) -> Scenario:
    """One problem for each seed; a seed's ranking is the same at every coverage, and its covered sets are nested."""
    drawn = [_draw_seed(covered_responses(coverage), np.random.default_rng([seed, index])) for index in range(seeds)]
    covered, *pairs = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
    return Scenario(covered, ComparedPairs(*pairs))


def _draw_seed(k: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One seed's covered, prompt, better and worse. The first k - 1 pairs hold every covered response, and the first of
    them the best one; the other pairs are uniform."""
    covered = np.zeros((PROMPTS, RESPONSES), dtype=bool)
    pairs = np.zeros((PROMPTS, PAIRS_PER_PROMPT, 2), dtype=np.int64)
    rank, order = np.zeros((2, PROMPTS, RESPONSES), dtype=np.int64)
    for x in range(PROMPTS):
        others = np.delete(np.arange(RESPONSES), x)
        rank[x, random.permutation(others)] = np.arange(1, RESPONSES)  # the best one keeps rank 0
        order[x] = [x, *random.permutation(others)]
    for x in range(PROMPTS):
        kept = order[x, :k]
        covered[x, kept] = True
        for index in range(PAIRS_PER_PROMPT):
            one = kept[index + 1] if index < k - 1 else random.choice(kept)
            other = x if index == 0 else random.choice(kept[kept != one])
            pairs[x, index] = sorted((one, other), key=lambda y: rank[x, y])
    flat = pairs.reshape(-1, 2)
    prompt = np.repeat(np.arange(PROMPTS), PAIRS_PER_PROMPT)
    return covered, prompt, flat[:, 0].copy(), flat[:, 1].copy()
