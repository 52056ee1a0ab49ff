"""Computes the win rate and the other numbers of a pair of contestants from verdicts. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.matches import EVEN
from preflab.analysis.record import ComparisonVerdict, Interval
from preflab.analysis.winrates.agreement import measure_agreement
from preflab.analysis.winrates.length import control_length
from preflab.analysis.winrates.position import position_bias
from preflab.analysis.winrates.ppi import FEWEST, correct_by_labels
from preflab.analysis.winrates.rogan_gladen import correct_by_error_rates
from preflab.analysis.winrates.shares import outcome_shares, share_interval, unreadable_bounds, win_rate
from preflab.contest.record import ContestPair, Correction
from preflab.evaluation.pairwise import LOSS, TIE, WIN
from preflab.evaluation.preference.base import PairVerdict, PreferenceQuestion


@dataclass(frozen=True)
class JudgedPairs:
    """The judged pairs of answers of two contestants. `questions` and `verdicts` have one row for each seed and one
    column for each prompt. The prompts are in random order."""

    first: str
    second: str
    questions: Sequence[Sequence[PreferenceQuestion]]
    verdicts: Sequence[Sequence[PairVerdict]]

    @property
    def outcomes(self) -> Floats:
        return np.array([[verdict.outcome for verdict in row] for row in self.verdicts])

    @property
    def unreadable(self) -> Floats:
        return np.array([[float(verdict.unreadable) for verdict in row] for row in self.verdicts])

    @property
    def by_people(self) -> bool:
        return any(verdict.labels for row in self.verdicts for verdict in row)

    @property
    def length_differences(self) -> Floats:
        """Characters of the first answer minus characters of the second."""
        return np.array(
            [[float(len(each.first.text) - len(each.second.text)) for each in row] for row in self.questions]
        )


def analyse_pair(judged: JudgedPairs, labels: Mapping[str, float], *, family: int, can_judge: bool) -> ContestPair:
    """Returns all numbers of a pair of contestants. `family`: the number of pairs of contestants. `can_judge`: False if
    the judge may be no better than a coin. The judge's own win rate then decides nothing."""
    outcomes, unreadable = judged.outcomes, judged.unreadable
    rate = win_rate(outcomes, family=family)
    correction = correct_pair(judged, labels, family=family)
    return ContestPair(
        first=judged.first,
        second=judged.second,
        rate=rate,
        shares=people_shares(judged.verdicts) if judged.by_people else outcome_shares(outcomes, unreadable),
        if_unreadable=unreadable_bounds(outcomes, unreadable),
        equal_answers=sum(each.first.text == each.second.text for row in judged.questions for each in row),
        position_bias=find_position_bias(judged.verdicts),
        length=control_length(outcomes, judged.length_differences, family=family),
        correction=correction,
        verdict=decide_pair(rate, correction, can_judge=can_judge),
    )


def people_shares(verdicts: Sequence[Sequence[PairVerdict]]) -> dict[str, Interval]:
    """Returns the shares of wins, ties and losses among people's labels. A pair with several raters counts as one pair:
    if one of two raters chose the first answer and the other chose the second, the pair counts as half a win and half a
    loss. No label is unreadable."""
    outcomes = {"win": WIN, "tie": TIE, "loss": LOSS}
    tables = {
        name: np.array([[fmean(float(label == value) for label in each.labels) for each in row] for row in verdicts])
        for name, value in outcomes.items()
    }
    return {name: share_interval(table) for name, table in {**tables, "unreadable": 0 * tables["win"]}.items()}


def decide_pair(rate: Interval, correction: Correction | None, *, can_judge: bool) -> ComparisonVerdict:
    """Returns the verdict on the first contestant. A corrected win rate decides if there is one, because it is valid
    however often the judge is wrong. Otherwise the judge's own win rate decides. The verdict is then 'not decided' if a
    check with labelled pairs or people's labels fails to show that the judge is better than a coin."""
    if correction is not None and correction.corrected is not None:
        return decide(correction.corrected.rate)
    trusted = can_judge and (correction is None or correction.agreement.beats_coin)
    return decide(rate) if trusted else "not decided"


def decide(rate: Interval) -> ComparisonVerdict:
    """Returns whether a win rate's interval lies wholly above one half ('better'), wholly below it ('worse'), or
    neither ('not decided')."""
    if rate.low is None or rate.high is None:
        return "not decided"
    return "better" if rate.low > EVEN else "worse" if rate.high < EVEN else "not decided"


def find_position_bias(verdicts: Sequence[Sequence[PairVerdict]]) -> Interval | None:
    """Returns the position bias over the prompts. The value of a prompt is the mean over its seeds. Leaves out pairs
    with an unreadable reply, and pairs that the judge was not asked about in both orders."""
    columns: list[Floats] = []
    for column in zip(*verdicts, strict=True):
        read = [verdict.orders for verdict in column if len(verdict.orders) == 2 and not verdict.unreadable]
        if read:
            shown = [[float(plain == "first"), float(swapped == "second")] for plain, swapped in read]
            columns.append(np.array(shown).mean(axis=0))
    return position_bias(np.array(columns).reshape(-1, 2))


def correct_pair(judged: JudgedPairs, labels: Mapping[str, float], *, family: int) -> Correction | None:
    """Returns the judge's agreement with people's labels of these pairs, and the win rate that the labels correct; None
    if no pair has a label. If there are too few labels, the result has a reason instead of a corrected win rate. Each
    contestant must have a single seed."""
    names, verdicts = [question.pair for question in judged.questions[0]], judged.verdicts[0]
    marked = np.array([name in labels for name in names])
    if not marked.any():
        return None
    people = np.array([labels[name] for name in names if name in labels])
    outcomes = np.array([verdict.outcome for verdict in verdicts])
    agreement = measure_agreement(outcomes[marked], people, judged.unreadable[0][marked])
    if len(people) < FEWEST:
        reason = f"{len(people)} labels are too few: at least {FEWEST} labels of randomly drawn prompts are needed"
        return Correction(agreement=agreement, reason=reason)
    return Correction(
        agreement=agreement,
        corrected=correct_by_labels(people, outcomes[marked], outcomes[~marked], family=family),
        by_error_rates=correct_by_error_rates(people, outcomes[marked], outcomes),
    )
