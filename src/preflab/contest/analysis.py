"""Computes the win rate of a pair of contestants, and statistics such as the position bias, from a judge's verdicts.
Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.record import ComparisonVerdict, Interval
from preflab.analysis.winrates.agreement import agreement_on, can_judge
from preflab.analysis.winrates.judged import Verdicts, outcome_table
from preflab.analysis.winrates.length import control_length
from preflab.analysis.winrates.position import position_bias
from preflab.analysis.winrates.ppi import FEWEST, correct_by_labels
from preflab.analysis.winrates.rogan_gladen import correct_by_error_rates
from preflab.analysis.winrates.shares import outcome_shares, share_interval, unreadable_bounds, win_rate
from preflab.analysis.winrates.verdict import decide_win_rate
from preflab.contest.record import ContestPair, Correction
from preflab.evaluation.preference.base import PairVerdict, PreferenceQuestion
from preflab.evaluation.preference.labelled import check_verdicts


@dataclass(frozen=True)
class JudgedPairs:
    """The pairs of answers of two contestants, and the judge's verdicts on these pairs. `questions` and `verdicts` have
    one row for each seed and one column for each prompt. The prompts are in random order."""

    first: str
    second: str
    questions: Sequence[Sequence[PreferenceQuestion]]
    verdicts: Sequence[Sequence[PairVerdict]]

    @property
    def cells(self) -> Verdicts:
        return [[[verdict] for verdict in row] for row in self.verdicts]

    @property
    def outcomes(self) -> Floats:
        return outcome_table(self.cells)

    @property
    def length_differences(self) -> Floats:
        """The number of characters of the first answer minus the number of characters of the second answer."""
        return np.array(
            [[float(len(each.first.text) - len(each.second.text)) for each in row] for row in self.questions]
        )


def analyse_pair(judged: JudgedPairs, labels: Mapping[str, float], *, family: int, trusted: bool) -> ContestPair:
    """Returns the win rate, the verdict and all other statistics of a pair of contestants. `family`: the number of pairs
    of contestants. `trusted`: False if a check did not show that the judge is better than a coin. In this case, the
    judge's uncorrected win rate gives no verdict."""
    outcomes, cells = judged.outcomes, judged.cells
    rate = win_rate(outcomes, family=family)
    correction = correct_pair(judged, labels, family=family)
    return ContestPair(
        first=judged.first,
        second=judged.second,
        rate=rate,
        shares=outcome_shares(cells, share_interval),
        if_unreadable=unreadable_bounds(cells),
        equal_answers=sum(each.first.text == each.second.text for row in judged.questions for each in row),
        position_bias=position_bias(cells),
        length=control_length(outcomes, judged.length_differences, family=family),
        correction=correction,
        verdict=decide_pair(rate, correction, trusted=trusted),
    )


def decide_pair(rate: Interval, correction: Correction | None, *, trusted: bool) -> ComparisonVerdict:
    """Returns the verdict on the first contestant. If there is a corrected win rate, the verdict comes from it, because
    a corrected win rate is valid even if the judge is often wrong. If there is no corrected win rate, the verdict comes
    from the judge's uncorrected win rate. The judge can be checked on labelled pairs and on people's labels. If such a
    check does not show that the judge is better than a coin, the verdict from the uncorrected win rate is 'not
    decided'."""
    if correction is None:
        return decide_win_rate(rate, trusted=trusted)
    if correction.corrected is not None:
        return decide_win_rate(correction.corrected.rate, trusted=True)
    return decide_win_rate(rate, trusted=trusted and can_judge(correction.agreement))


def correct_pair(judged: JudgedPairs, labels: Mapping[str, float], *, family: int) -> Correction | None:
    """Returns the judge's agreement with people's labels of these pairs, and the win rate corrected with these labels.
    Returns None if no pair has a label. With fewer than `FEWEST` labels, the result contains a reason instead of a
    corrected win rate. Each contestant must have a single seed."""
    verdicts = judged.verdicts[0]
    marked = np.array([verdict.pair in labels for verdict in verdicts])
    given = [labels[verdict.pair] for verdict in verdicts if verdict.pair in labels]
    agreement = agreement_on(check_verdicts([verdict for verdict in verdicts if verdict.pair in labels], given))
    if agreement is None:
        return None
    people, outcomes = np.array(given), judged.outcomes[0]
    if len(people) < FEWEST:
        reason = f"{len(people)} labels are too few: at least {FEWEST} labels of randomly drawn prompts are needed"
        return Correction(agreement=agreement, reason=reason)
    return Correction(
        agreement=agreement,
        corrected=correct_by_labels(people, outcomes[marked], outcomes[~marked], family=family),
        by_error_rates=correct_by_error_rates(people, outcomes[marked], outcomes),
    )
