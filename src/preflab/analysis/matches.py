"""Computes win rates of pairs of arms over seeds and problems, from the saved pairwise outcomes. No torch.

The docstring of `analysis.winrates` compares the win rates of studies and of contests, and explains why their intervals
differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.record import EvaluatorResult, Interval, LengthControl, Measure, PairwiseResult
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import compare_scores, mean_interval
from preflab.analysis.winrates.agreement import Agreement, agreement_on, can_judge
from preflab.analysis.winrates.judged import Verdicts, outcome_table
from preflab.analysis.winrates.length import control_length
from preflab.analysis.winrates.position import describe_one_side, position_bias
from preflab.analysis.winrates.shares import outcome_shares, unreadable_bounds
from preflab.analysis.winrates.verdict import EVEN, decide_win_rate
from preflab.analysis.winrates.words import check_words, position_words, unreadable_words
from preflab.arm.result import MatchResult
from preflab.evaluation.preference.base import PairVerdict
from preflab.text import counted

HOW_TO_CHECK = "a file of labelled pairs (agreement: FILE, in its evaluator)"
"""The words with which notes name the setting that gives labelled pairs to a study's judge."""
OLD_MATCH = (
    "An older preflab version made this match. Unreadable verdicts count as ties, and the position bias is not known. To "
    "measure both, remove the folder pairwise of each seed and run the study again. Replies in the judge's cache are reused."
)
"""The note on a match that an older preflab version saved without the list of unreadable replies."""


def pairwise_result(
    name: str,
    results: Sequence[MatchResult],
    *,
    measure: Measure,
    evaluator: EvaluatorResult,
    family: float,
    as_is: bool = False,
) -> PairwiseResult:
    """Returns the result of one pair of arms over all seeds. Uses `compare_scores` to test whether the mean outcome
    differs from one half (`EVEN`). If the evaluator is not shown to be better than chance, the verdict is "not decided".
    `results`: the pair's match under each seed. `family`: the number of pairs that the evaluator compares. The intervals
    of these pairs are simultaneous. `as_is`: see `Scores`."""
    problems = tuple(next((result.problems for result in results if result.problems), ("",)))
    verdicts = [[read_match_verdicts(result, problem) for problem in problems] for result in results]
    seeds = tuple(result.seed for result in results)
    diverged = tuple(result.seed for result in results if result.diverged_arms)
    table = outcome_table(verdicts)
    first, second = results[0].first, results[0].second
    scores = Scores(table, seeds, problems, diverged, as_is=as_is)
    even = Scores(np.full_like(table, EVEN), seeds, problems, as_is=as_is)
    difference = compare_scores(scores, even, names=(first, second), family=family)
    shifted = {"estimate": EVEN + difference.difference}
    if difference.low is not None and difference.high is not None:
        shifted |= {"low": EVEN + difference.low, "high": EVEN + difference.high}
    rate = Interval.model_validate(difference.model_dump(include=set(Interval.model_fields)) | shifted)
    shares = outcome_shares(verdicts, lambda part: mean_interval(replace(scores, values=part)).within(0.0, 1.0))
    if not any(verdict.orders for row in verdicts for cell in row for verdict in cell):
        del shares["unreadable"]
    details = [result.details for result in results if result.details]
    return PairwiseResult(
        name=name,
        evaluator=evaluator,
        measure=measure,
        first=first,
        second=second,
        win_rate=rate.within(0.0, 1.0),
        ties=shares["tie"].estimate,
        shares=shares,
        length=length_control(scores, results, family=family),
        p_value=difference.p_value,
        family=family,
        verdict=decide_win_rate(rate, trusted=evaluator.can_rank and can_judge(judge_agreement(details))),
        notes=(*left_out_notes(results), *judge_notes(details, verdicts, shares)),
    )


def read_match_verdicts(result: MatchResult, problem: str) -> list[PairVerdict]:
    """Returns the verdicts on one problem, one for each pair of answers. If an arm diverged, the match has no answers,
    and the function returns a single verdict: the diverged arm loses. If both arms diverged, the verdict is a tie."""
    if not result.problems:
        lost = [side in result.diverged_arms for side in (result.first, result.second)]
        return [PairVerdict(problem, EVEN + (lost[1] - lost[0]) / 2)]
    outcomes = result.problems[problem].outcomes
    orders = result.details.get("orders", {}).get(problem, [()] * len(outcomes))
    return [PairVerdict(problem, each, tuple(order)) for each, order in zip(outcomes, orders, strict=True)]


def length_control(scores: Scores, results: Sequence[MatchResult], *, family: float) -> LengthControl | None:
    """Returns the length-controlled win rate, or None if the lengths of some answers are not known. The interval is
    computed over seeds and problems, like the interval of the win rate. `scores`: the table of mean outcomes.
    `results`: the match under each seed, which contains the length differences."""
    rows = [[result.problems.get(problem) for problem in scores.problems] for result in results]
    lengths = [[None if each is None else each.length_difference for each in row] for row in rows]
    if any(length is None for row in lengths for length in row):
        return None

    def interval(estimate: float, influence: Floats, *, family: float = 1.0) -> Interval:
        return mean_interval(replace(scores, values=estimate + influence), family=family)

    return control_length(scores.values, np.array(lengths, dtype=float), family=family, interval=interval)


def judge_agreement(details: Sequence[Mapping[str, Any]]) -> Agreement | None:
    """Returns the agreement of a preference judge with labelled pairs, or None if there are no labelled pairs. All seeds
    use the same labelled pairs, so only the verdicts from one seed are used. `details`: the saved details of the
    evaluator for each seed."""
    return agreement_on(next((row["labelled"] for row in details if row.get("labelled")), []))


def left_out_notes(results: Sequence[MatchResult]) -> Iterator[str]:
    """Yields a sentence with the number of prompts that were left out because the data contain no chosen answer to
    these prompts. Yields nothing if no prompt was left out. Also yields nothing for results of older preflab versions,
    which did not record this number."""
    count = max(result.left_out for result in results)
    if count:
        yield f"{counted(count, 'prompt')} without a chosen answer in the data {'was' if count == 1 else 'were'} left out."


def judge_notes(
    details: Sequence[Mapping[str, Any]], verdicts: Verdicts, shares: Mapping[str, Interval]
) -> Iterator[str]:
    """Yields sentences about a preference judge: its agreement with labelled pairs, its unreadable replies and its
    position bias, over all seeds. Yields nothing for other evaluators. `details`: one dictionary from
    `OpenPreferenceEvaluator.details` for each seed."""
    if not all("judge" in row for row in details) or not details:
        return
    template = f", template {details[0]['template']}" if details[0]["template"] else ""
    yield f"Judge: {details[0]['judge']}{template}."
    yield check_words(judge_agreement(details), HOW_TO_CHECK)
    if not all("orders" in row for row in details):
        yield OLD_MATCH
        return
    if "unreadable" in shares and shares["unreadable"].estimate:
        yield as_sentence(unreadable_words(shares["unreadable"], unreadable_bounds(verdicts)))
    bias = position_bias(verdicts)
    if bias is not None:
        choices = [
            shown for row in verdicts for cell in row for each in cell if (shown := each.chose_first_shown) is not None
        ]
        disagree = sum(sum(both) != 1 for both in choices)
        yield f"The two orders disagree on {disagree} of {counted(len(choices), 'pair')}. These pairs are ties."
        yield as_sentence(position_words(bias))
        yield from filter(None, [describe_one_side(bias)])


def as_sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."
