"""Computes win rates of pairs of arms over seeds and problems, from the saved pairwise outcomes. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.analysis.gather import mean
from preflab.analysis.record import EvaluatorResult, Interval, Measure, PairwiseResult
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import compare_scores

EVEN = 0.5
"""The expected win rate of two equally good arms."""


def pairwise_result(
    name: str, results: Sequence[Mapping[str, Any]], *, measure: Measure, evaluator: EvaluatorResult, family: int
) -> PairwiseResult:
    """Returns the result of one pair of arms over its seeds. Tests whether the mean outcome differs from `EVEN`, with
    the same statistics as a comparison of two arms' scores. `family`: the number of pairs that the evaluator compares;
    their intervals are simultaneous. If the evaluator may be no better than chance, the verdict is "not decided"."""
    problems = tuple(next((result["problems"] for result in results if result["problems"]), {"": {}}))
    rows = [
        [mean(result["problems"][problem]["outcomes"]) if result["problems"] else EVEN for problem in problems]
        for result in results
    ]
    seeds = tuple(result["seed"] for result in results)
    diverged = tuple(result["seed"] for result in results if result["diverged_arms"])
    table = np.array(rows)
    first, second = results[0]["first"], results[0]["second"]
    scores, even = Scores(table, seeds, problems, diverged), Scores(np.full_like(table, EVEN), seeds, problems)
    difference = compare_scores(scores, even, names=(first, second), family=family)
    shifted = {"estimate": EVEN + difference.difference}
    if difference.low is not None and difference.high is not None:
        shifted |= {"low": EVEN + difference.low, "high": EVEN + difference.high}
    outcomes = [each for result in results for row in result["problems"].values() for each in row["outcomes"]]
    return PairwiseResult(
        name=name,
        evaluator=evaluator,
        measure=measure,
        first=first,
        second=second,
        win_rate=Interval.model_validate(difference.model_dump(include=set(Interval.model_fields)) | shifted),
        ties=mean([float(each == EVEN) for each in outcomes]) if outcomes else None,
        p_value=difference.p_value,
        family=family,
        verdict=difference.verdict if evaluator.can_rank else "not decided",
    )
