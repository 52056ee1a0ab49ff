"""Computes win rates of pairs of arms over seeds and problems, from the saved pairwise outcomes. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from preflab.analysis.gather import mean
from preflab.analysis.record import EvaluatorResult, Interval, Measure, PairwiseResult
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import compare_scores, mean_interval
from preflab.analysis.winrates.agreement import Agreement, measure_agreement
from preflab.analysis.winrates.position import describe_one_side, position_bias
from preflab.analysis.winrates.words import agreement_words
from preflab.arm.result import MatchResult
from preflab.text import counted

EVEN = 0.5
"""The expected win rate of two equally good arms."""
OUTCOME_VALUES = {"win": 1.0, "tie": EVEN, "loss": 0.0}
"""The outcomes of one comparison for the first arm."""
UNCHECKED_JUDGE = (
    "This judge was not checked on labelled pairs, and a judge that is no better than a coin gives win rates too. To check "
    "it, give its evaluator a file of labelled pairs (agreement: FILE)."
)
"""The note on a preference judge that was not checked."""


def pairwise_result(
    name: str,
    results: Sequence[MatchResult],
    *,
    measure: Measure,
    evaluator: EvaluatorResult,
    family: float,
    as_is: bool = False,
) -> PairwiseResult:
    """Returns the result of one pair of arms over its seeds. Tests whether the mean outcome differs from `EVEN`, with
    the same statistics as a comparison of two arms' scores. `family`: the number of pairs that the evaluator compares;
    their intervals are simultaneous. `as_is`: see `Scores`. If the evaluator may be no better than chance, the verdict is
    "not decided"."""
    problems = tuple(next((result.problems for result in results if result.problems), ("",)))
    cells = [[read_outcomes(result, problem) for problem in problems] for result in results]
    rows = [[mean(outcomes) for outcomes in row] for row in cells]
    seeds = tuple(result.seed for result in results)
    diverged = tuple(result.seed for result in results if result.diverged_arms)
    table = np.array(rows)
    first, second = results[0].first, results[0].second
    scores = Scores(table, seeds, problems, diverged, as_is=as_is)
    even = Scores(np.full_like(table, EVEN), seeds, problems, as_is=as_is)
    difference = compare_scores(scores, even, names=(first, second), family=family)
    shifted = {"estimate": EVEN + difference.difference}
    if difference.low is not None and difference.high is not None:
        shifted |= {"low": EVEN + difference.low, "high": EVEN + difference.high}
    details = [result.details for result in results if result.details]
    shares: dict[str, Interval] = {}
    for word, kind in OUTCOME_VALUES.items():
        counted_cells = [[outcomes.count(kind) / len(outcomes) for outcomes in row] for row in cells]
        shares[word] = mean_interval(replace(scores, values=np.array(counted_cells))).within(0.0, 1.0)
    return PairwiseResult(
        name=name,
        evaluator=evaluator,
        measure=measure,
        first=first,
        second=second,
        win_rate=Interval.model_validate(difference.model_dump(include=set(Interval.model_fields)) | shifted),
        ties=shares["tie"].estimate,
        shares=shares,
        p_value=difference.p_value,
        family=family,
        verdict=difference.verdict if evaluator.can_rank and can_judge(details) else "not decided",
        notes=(*left_out_notes(results), *judge_notes(details)),
    )


def can_judge(details: Sequence[Mapping[str, Any]]) -> bool:
    """Returns False for a preference judge whose agreement with labelled pairs does not show that it is better than a
    coin. Returns True for a judge that was not checked, and for any other evaluator."""
    agreement = judge_agreement(details)
    return agreement is None or agreement.beats_coin


def judge_agreement(details: Sequence[Mapping[str, Any]]) -> Agreement | None:
    """Returns how well a preference judge agrees with labelled pairs; None without such pairs. Every seed has the same
    labelled pairs, so only the verdicts of the first seed are used."""
    labelled = next((row["labelled"] for row in details if row.get("labelled")), None)
    if labelled is None:
        return None
    outcomes, labels, unreadable = np.array(labelled).T
    return measure_agreement(outcomes, labels, unreadable)


def read_outcomes(result: MatchResult, problem: str) -> list[float]:
    """Returns the first side's outcomes on one problem: 1 for a win, .5 for a tie and 0 for a loss. A match without
    answers has one outcome, because at least one side diverged: the diverged side loses. If both sides diverged, the
    outcome is a tie."""
    if result.problems:
        return result.problems[problem].outcomes
    lost = [side in result.diverged_arms for side in (result.first, result.second)]
    return [EVEN + (lost[1] - lost[0]) / 2]


def left_out_notes(results: Sequence[MatchResult]) -> Iterator[str]:
    """Yields a sentence with the number of prompts that were left out because the data have no chosen answer to them.
    The result of an older version of preflab does not contain this number."""
    count = max(result.left_out for result in results)
    if count:
        yield f"{counted(count, 'prompt')} without a chosen answer in the data {'was' if count == 1 else 'were'} left out."


def judge_notes(details: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields sentences about the replies of a preference judge, over all seeds. `details`: for each seed, the
    dictionary that `OpenPreferenceEvaluator.details` returned. Yields nothing for other evaluators."""
    if not all("judge" in row for row in details) or not details:
        return
    template = f", template {details[0]['template']}" if details[0]["template"] else ""
    yield f"Judge: {details[0]['judge']}{template}."
    agreement = judge_agreement(details)
    yield UNCHECKED_JUDGE if agreement is None else agreement_words(agreement)
    unreadable = sum(row["unreadable"] for row in details)
    yield f"Unreadable verdicts: {unreadable}. Each of them counts as half a win, like a tie."
    shown = np.array([pair for row in details for pair in row["chose_first_shown"]]).reshape(-1, 2)
    bias = position_bias(shown)
    if bias is not None and bias.low is not None and bias.high is not None:
        disagree = int((shown.sum(axis=1) != 1).sum())
        yield (
            f"The two orders disagree on {disagree} of {len(shown)} pairs. These pairs are ties. The answer shown first was "
            f"chosen in {bias.estimate:.1%} [{100 * bias.low:.1f}, {100 * bias.high:.1f}] of the replies (50% without a bias)."
        )
        yield from filter(None, [describe_one_side(bias)])
