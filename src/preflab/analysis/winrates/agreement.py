"""Computes how well a judge agrees with labels: the accuracy and Cohen's kappa, each with a confidence interval. Does
not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.spread import ROUNDING
from preflab.analysis.statistics import ALPHA
from preflab.analysis.winrates.shares import share_interval
from preflab.evaluation.preference.labelled import CheckedPair


@dataclass(frozen=True)
class Agreement:
    """How well a judge agrees with labels.

    pairs: the number of labelled pairs.
    accuracy: the share of correct verdicts. If the label names a winner, a tie or an unreadable verdict counts as half
    correct. A judge that tosses a coin therefore has an accuracy of one half.
    kappa: Cohen's kappa (agreement beyond chance), with win, tie, loss and unreadable as classes.
    ties, unreadable: the shares of ties and of unreadable verdicts among the judge's verdicts.
    sensitivity: the judge's mean outcome on the pairs whose label prefers the first answer; None without such pairs.
    specificity: 1 minus the judge's mean outcome on the pairs whose label prefers the second answer; None without such
    pairs.
    """

    pairs: int
    accuracy: Interval
    kappa: Interval
    ties: float
    unreadable: float
    sensitivity: float | None
    specificity: float | None

    @property
    def beats_coin(self) -> bool:
        """True if the whole interval of the accuracy is above one half."""
        return self.accuracy.low is not None and self.accuracy.low > 0.5


def can_judge(agreement: Agreement | None) -> bool:
    """Returns False if the judge was checked on labelled pairs, and the check did not show that the judge is better than
    a coin. The verdicts of such a judge decide nothing. Returns True if the judge was not checked."""
    return agreement is None or agreement.beats_coin


def agreement_on(checked: Sequence[CheckedPair]) -> Agreement | None:
    """Returns the judge's agreement with the labels of the pairs on which the judge was checked. Returns None if there
    are no such pairs."""
    if not checked:
        return None
    outcomes, labels, unreadable = np.array(checked).T
    return measure_agreement(outcomes, labels, unreadable)


def measure_agreement(outcomes: Floats, labels: Floats, unreadable: Floats) -> Agreement:
    """Compares a judge's outcomes with labels in [0, 1] of the same pairs [N], and returns the measures of agreement.
    `unreadable`: 1 for each pair with an unreadable verdict, else 0."""
    unread = unreadable == 1
    right = 1 - np.abs(outcomes - labels)
    judged = np.where(unread, 3, np.sign(outcomes - 0.5) + 1).astype(int)
    labelled = (np.sign(labels - 0.5) + 1).astype(int)
    first, second = outcomes[labels > 0.5], outcomes[labels < 0.5]
    return Agreement(
        pairs=len(labels),
        accuracy=share_interval(right[None, :]).model_copy(update={"reason": ""}),
        kappa=cohen_kappa(judged, labelled),
        ties=float(((outcomes == 0.5) & ~unread).mean()),
        unreadable=float(unread.mean()),
        sensitivity=float(first.mean()) if len(first) else None,
        specificity=1 - float(second.mean()) if len(second) else None,
    )


def cohen_kappa(one: Floats, other: Floats) -> Interval:
    """Returns Cohen's kappa of two raters' classes [N]. The confidence interval is computed from the influence of each
    pair on kappa. The influence follows from the derivatives of kappa = 1 - (1 - observed) / (1 - expected) with respect
    to the observed and the expected rate of agreement.

    Source: Cohen, Educational and Psychological Measurement 20 (1960); Fleiss, Cohen & Everitt, Psychological Bulletin 72
    (1969).
    """
    classes = np.unique(np.concatenate([one, other]))
    shares_one, shares_other = ({each: float((row == each).mean()) for each in classes} for row in (one, other))
    observed = float((one == other).mean())
    expected = sum(shares_one[each] * shares_other[each] for each in classes)
    count = len(one)
    if 1 - expected < ROUNDING:
        return Interval(
            problems=count, reason="kappa is not defined, because both raters gave every pair the same class"
        )
    kappa = 1 - (1 - observed) / (1 - expected)
    chance = np.array([shares_other[a] + shares_one[b] for a, b in zip(one, other, strict=True)])
    agreed = (one == other).astype(float)
    influence = (agreed - observed) / (1 - expected) - (1 - observed) / (1 - expected) ** 2 * (chance - 2 * expected)
    if count < 2:
        return Interval(estimate=kappa, problems=count, reason="there is only one pair, so there is no interval")
    error = float(influence.std(ddof=1)) / np.sqrt(count)
    width = float(stats.t.isf(ALPHA / 2, count - 1)) * error
    reason = ""
    if width < ROUNDING:
        why = "the raters agree on every pair" if observed == 1 else "one rater gave every pair the same class"
        reason = f"{why}, so the interval has no width"
    low, high = max(-1.0, kappa - width), min(1.0, kappa + width)
    return Interval(estimate=kappa, low=low, high=high, se=error, df=count - 1, problems=count, reason=reason)
