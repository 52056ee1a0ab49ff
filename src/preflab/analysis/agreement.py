"""Measures how often two evaluators agree about which of two arms answers a problem better. No torch."""

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
    """Returns how often another evaluator orders two arms' answers to a problem as the trusted evaluator does.

    d is the difference between two arms' scores on a problem by the trusted evaluator, under one seed. e is the
    difference by the other evaluator, with the opposite sign if `lower` says that a lower value is better. The share
    under a seed is the mean of (1 + sign(d) sign(e)) / 2 over all pairs of arms and all problems with d != 0. So a tie
    by the other evaluator counts one half, and an evaluator that guesses has one half (the concordance index, Harrell et
    al. 1982). The interval is over seeds. Diverged runs are left out. Returns None if d is always 0.

    `trusted`, `other`: each arm's scores (seeds x problems) by the two evaluators.
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
    """Returns the evaluators, each but the main one with its agreement with the main one.

    An evaluator is compared by its first measure that has a better direction and a value for each problem. An evaluator
    without such a measure gets no agreement. `measures`: each evaluator's measures. `board`: the values at the decoding
    of `trusted`. `trusted`: each arm's scores by the main evaluator.
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
