"""Measures how much DPO and PPO leak (move mass to uncovered responses) at every coverage, beta and training length.

Also measures how much they leak under variations. Each variation changes a choice that the paper does not specify.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from preflab.theory.synthetic.experiment import EXACT, Prepared, Setting, prepare, train
from preflab.theory.synthetic.measures import SeedInterval, largest_rise, leak, seed_interval
from preflab.theory.synthetic.objectives import trained_methods

SWEEP_COVERAGES = (0.25, 0.5, 0.75)
SWEEP_BETAS = (0.1, 0.3, 1.0, 3.0)
LENGTHS = 8
COMPARED = ("DPO", "PPO", EXACT)  # the methods that the claim and the sweep compare


class SweepPoint(NamedTuple):
    """The result of one method at one coverage, beta and training length.

    `leak`: the change of the uncovered mass. `rise`: the largest rise of a single uncovered response.
    """

    coverage: float
    beta: float
    steps: int
    method: str
    leak: SeedInterval
    rise: SeedInterval


class Variation(NamedTuple):
    """The results under a variation, which changes a choice that the paper does not specify.

    `reference_mass`: the uncovered mass of pi_ref. `points`: one point for each method.
    """

    label: str
    reference_mass: float
    points: tuple[SweepPoint, ...]


def training_lengths(steps: int) -> list[int]:
    """Returns the training lengths: `steps`, half of `steps`, a quarter of `steps`, and so on, in rising order."""
    return sorted({steps >> halvings for halvings in range(LENGTHS)} - {0})


def run_sweep(setting: Setting) -> list[SweepPoint]:
    """Returns a point for every coverage, beta, training length and method. The reward models are trained once for each
    coverage, and are used for all betas."""
    checkpoints = training_lengths(setting.steps)
    points: list[SweepPoint] = []
    for coverage in SWEEP_COVERAGES:
        varied = replace(setting, coverage=coverage)
        prepared = prepare(varied, checkpoints)
        for beta in SWEEP_BETAS:
            points += _compare_methods(prepared, varied, beta, checkpoints)
    return points


def run_variations(setting: Setting, beta: float) -> list[Variation]:
    """Compares DPO and PPO under other networks and under another pi_ref, at the end of training."""
    settings = {
        "one hidden layer (default)": setting,
        "two hidden layers": replace(setting, layers=2),
        "no hidden layer: a table": replace(setting, layers=0),
        "reference after SFT on the chosen responses": replace(setting, sft=True),
    }
    variations: list[Variation] = []
    for label, varied in settings.items():
        prepared = prepare(varied, [varied.steps])
        mass = prepared.known.reference.exp().masked_fill(prepared.scenario.covered, 0.0).sum(-1).mean()
        points = _compare_methods(prepared, varied, beta, [varied.steps])
        variations.append(Variation(label, float(mass), tuple(points)))
    return variations


def _compare_methods(prepared: Prepared, setting: Setting, beta: float, lengths: Sequence[int]) -> list[SweepPoint]:
    methods = {name: method for name, method in trained_methods(beta).items() if name in COMPARED}
    policies = train(prepared, methods, beta=beta, steps=setting.steps, checkpoints=lengths)
    about = (prepared.known.reference, prepared.scenario.covered)
    points: list[SweepPoint] = []
    for name, length in product(COMPARED, lengths):
        intervals = (seed_interval(measure(policies[name][length], *about)) for measure in (leak, largest_rise))
        points.append(SweepPoint(setting.coverage, beta, length, name, *intervals))
    return points
