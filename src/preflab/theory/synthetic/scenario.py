"""Draws the data of the synthetic scenario: the pairs, and which responses are covered. A response is covered if it is
in a pair.

There are X = 8 prompts with Y = 8 responses each. The best response of prompt x is response x. The other responses are
ranked at random. Each prompt has k *covered* responses, and the best response is one of them. In every pair, the
response with the better rank is preferred. The first axis of every tensor runs over the S seeds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PROMPTS = RESPONSES = 8
PAIRS_PER_PROMPT = 8


class ComparedPairs(NamedTuple):
    """The prompt, the preferred response and the rejected response of each pair, as indices. Each tensor is [S,P], or
    [P] for one seed.
    """

    prompt: Tensor
    better: Tensor
    worse: Tensor


class Scenario(NamedTuple):
    """The data of all seeds. `covered[S,X,Y]`: Bool, True if the response is in a pair. `pairs`: the pairs of each
    seed."""

    covered: Tensor
    pairs: ComparedPairs


def covered_responses(coverage: float) -> int:
    """Returns k, the number of covered responses of a prompt. k is at least 2, because a pair needs two responses."""
    return max(2, round(coverage * RESPONSES))


def draw_scenario(coverage: float, *, seeds: int, seed: int) -> Scenario:
    """Draws one problem for each seed.

    For a given seed, the ranking is the same at every coverage. A response that is covered at a lower coverage is also
    covered at a higher coverage.
    """
    drawn = [_draw_seed(covered_responses(coverage), np.random.default_rng([seed, index])) for index in range(seeds)]
    covered, *pairs = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
    return Scenario(covered, ComparedPairs(*pairs))


def _draw_seed(k: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws the covered responses and the pairs of one seed. Returns `covered`, and three arrays with the prompt, the
    better response and the worse response of each pair.

    `k`: the number of covered responses of each prompt. The first pair of each prompt contains the best response. The
    first k - 1 pairs together contain every covered response. The other pairs are drawn uniformly.
    """
    covered = np.zeros((PROMPTS, RESPONSES), dtype=bool)
    pairs = np.zeros((PROMPTS, PAIRS_PER_PROMPT, 2), dtype=np.int64)
    rank, order = np.zeros((2, PROMPTS, RESPONSES), dtype=np.int64)
    for x in range(PROMPTS):
        others = np.delete(np.arange(RESPONSES), x)
        rank[x, random.permutation(others)] = np.arange(1, RESPONSES)  # the best response has rank 0
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
