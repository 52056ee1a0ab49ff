"""Computes the measures of a policy for each seed, and intervals over seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Numbers = NDArray[np.float64]
CONFIDENCE = 0.95


class SeedInterval(NamedTuple):
    """A mean over S seeds and the bounds of its t interval, mean +- t(S-1) sd / sqrt(S)."""

    mean: float
    low: float
    high: float


def seed_interval(values: Numbers) -> SeedInterval:
    """Computes the mean over seeds and its 95% t interval. Args: values [S], one number for each seed. S is at least
    2."""
    mean, width = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    width *= float(stats.t.isf((1 - CONFIDENCE) / 2, len(values) - 1))
    return SeedInterval(mean, mean - width, mean + width)


class Measured(NamedTuple):
    """The measures of all policies. Each field maps the name of a policy to one number for each seed, [S]. `mass` and
    `best` also contain pi_ref."""

    mass: dict[str, Numbers]
    leaks: dict[str, Numbers]
    rises: dict[str, Numbers]
    best: dict[str, Numbers]


def uncovered_mass(logprobs: Tensor, covered: Tensor) -> Numbers:
    """Returns the uncovered mass, mean_x sum_{y uncovered} pi(y|x): [S]."""
    return logprobs.exp().masked_fill(covered, 0.0).sum(-1).mean(-1).double().numpy()


def leak(logprobs: Tensor, reference: Tensor, covered: Tensor) -> Numbers:
    """Returns the uncovered mass of pi minus the uncovered mass of pi_ref: [S]."""
    return uncovered_mass(logprobs, covered) - uncovered_mass(reference, covered)


def largest_rise(logprobs: Tensor, reference: Tensor, covered: Tensor) -> Numbers:
    """Returns the largest rise of an uncovered response, max over uncovered (x, y) of pi(y|x) - pi_ref(y|x): [S]. The
    result is 0 if every response is covered."""
    rises = (logprobs.exp() - reference.exp()).masked_fill(covered, -torch.inf).amax(dim=(-2, -1))
    return torch.where(rises.isinf(), 0.0, rises).double().numpy()


def best_mass(logprobs: Tensor) -> Numbers:
    """Returns mean_x pi(best response|x): [S]. The best responses are on the diagonal."""
    return logprobs.exp().diagonal(dim1=-2, dim2=-1).mean(-1).double().numpy()
