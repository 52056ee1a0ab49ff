"""The data of the synthetic scenario: which pairs are seen, and which responses never are.

X = 8 prompts, Y = 8 responses. The best response of prompt x is response x; the others are ranked at random. Of each
prompt k responses are *covered*, the best one among them; both answers of every pair are covered, and the better one
is chosen. Everything is stacked over S seeds: the first axis of every tensor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PROMPTS = RESPONSES = 8
PAIRS_PER_PROMPT = 8


class Scenario(NamedTuple):
    """`covered[S,X,Y]` Bool; the pairs as indices [S,P] of a prompt and its two responses."""

    covered: Tensor
    prompt: Tensor
    chosen: Tensor
    rejected: Tensor


def covered_responses(coverage: float) -> int:
    """k: the covered responses of a prompt, at least the two that make a pair."""
    return max(2, round(coverage * RESPONSES))


def draw_scenario(coverage: float, *, seeds: int, seed: int) -> Scenario:
    """One problem for each seed; a seed's ranking is the same at every coverage, and its covered sets are nested."""
    drawn = [_draw(covered_responses(coverage), np.random.default_rng([seed, index])) for index in range(seeds)]
    covered, prompt, chosen, rejected = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
    return Scenario(covered, prompt, chosen, rejected)


def _draw(k: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every covered response is in a pair: the first k - 1 pairs see to that, the others are uniform. The best one is in
    the first pair."""
    covered = np.zeros((PROMPTS, RESPONSES), dtype=bool)
    pairs = np.zeros((PROMPTS, PAIRS_PER_PROMPT, 2), dtype=np.int64)
    rank = np.zeros((PROMPTS, RESPONSES), dtype=np.int64)
    seen = np.zeros((PROMPTS, RESPONSES), dtype=np.int64)
    for x in range(PROMPTS):
        others = np.delete(np.arange(RESPONSES), x)
        rank[x, random.permutation(others)] = np.arange(1, RESPONSES)  # the best one keeps rank 0
        seen[x] = [x, *random.permutation(others)]
    for x in range(PROMPTS):
        kept = seen[x, :k]
        covered[x, kept] = True
        for index in range(PAIRS_PER_PROMPT):
            one = kept[index + 1] if index < k - 1 else random.choice(kept)
            other = x if index == 0 else random.choice(kept[kept != one])
            pairs[x, index] = sorted((one, other), key=lambda y: rank[x, y])
    flat = pairs.reshape(-1, 2)
    prompt = np.repeat(np.arange(PROMPTS), PAIRS_PER_PROMPT)
    return covered, prompt, flat[:, 0].copy(), flat[:, 1].copy()
