"""Measures how often two evaluators agree about which of two arms answers a problem better. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from preflab.analysis.board import Board
from preflab.analysis.gather import Arms
from preflab.analysis.measured import interval_over_seeds
from preflab.analysis.record import EvaluatorResult, Interval, Measure
from preflab.analysis.scores import Scores


def measure_order_agreement(
    trusted: Mapping[str, Scores], other: Mapping[str, Scores], *, lower: bool
) -> Interval | None:
    """Returns how often two evaluators rank two arms in the same order on a problem, as a share with its interval.

    For one seed, two arms and one problem, d is the difference of the arms' scores by the trusted evaluator, and e is
    the difference by the other evaluator. If `lower` is True, lower values of the other evaluator are better, and the
    sign of e is changed. The share under a seed is the mean of (1 + sign(d) sign(e)) / 2 over all pairs of arms and all
    problems with d != 0 (the concordance index, Harrell et al. 1982). A tie by the other evaluator counts as one half.
    The expected share of an evaluator that guesses at random is therefore one half, with or without ties. The interval
    is over seeds. Diverged runs are left out. Returns None if d is always 0.

    `trusted`, `other`: each arm's scores (seeds x problems) by the trusted evaluator and by the other evaluator.
    """
    shares: list[float] = []
    problems = next(iter(trusted.values())).problems
    for seed in sorted({seed for scores in trusted.values() for seed in scores.seeds}):
        measured = [name for name, table in trusted.items() if seed in table.seeds and seed not in table.diverged]
        rows = {name: (trusted[name].table([seed], problems), other[name].table([seed], problems)) for name in measured}
        agreed: list[np.ndarray] = []
        for first, second in combinations(measured, 2):
            d, e = (np.sign(rows[first][which] - rows[second][which]) for which in (0, 1))
            agreed.append((1 + d * (-e if lower else e))[d != 0] / 2)
        if sum(map(len, agreed)):
            shares.append(float(np.concatenate(agreed).mean()))
    return interval_over_seeds(shares).within(0.0, 1.0) if shares else None


def with_agreement(
    evaluators: Mapping[str, EvaluatorResult],
    measures: Mapping[str, Sequence[Measure]],
    arms: Arms,
    board: Board,
    trusted: Mapping[str, Scores],
) -> dict[str, EvaluatorResult]:
    """Returns a copy of `evaluators` with each evaluator's agreement with the main evaluator.

    The main evaluator gets no agreement. For any other evaluator, the agreement is computed from this evaluator's first
    suitable measure. A measure is suitable if it has a value for each problem and a direction (higher or lower values
    are better). An evaluator without a suitable measure gets no agreement. `measures`: each evaluator's measures.
    `board`: the values of all measures at temperature 1. `trusted`: each arm's scores by the main evaluator at
    temperature 1.
    """
    described = dict(evaluators)
    for name, declared in measures.items():
        usable = [each for each in declared if each.better != "neither" and each.name in board.measures]
        if not usable or board.score in {each.name for each in declared}:
            continue
        tables = {arm: board.table(runs, "unit", measure=usable[0].name) for arm, runs in arms.items()}
        share = measure_order_agreement(trusted, tables, lower=usable[0].better == "lower")
        described[name] = described[name].model_copy(update={"agreement": share})
    return described
