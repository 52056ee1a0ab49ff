"""Corrects a win rate by the judge's error rates (Rogan & Gladen). This is a sensitivity analysis, which supplements the
correction in `ppi`. Does not import torch.

Definitions:

    q: the judge's mean outcome on all pairs
    a: the sensitivity: the judge's mean outcome on the labelled pairs on which people prefer the first answer
    b: the specificity: 1 minus the judge's mean outcome on the labelled pairs on which people prefer the second answer
    c: the judge's mean outcome on the labelled pairs on which people chose a tie
    t: the share of the labelled pairs on which people chose a tie
    p: people's unknown win rate on the pairs without a tie

These numbers satisfy

    q = (1 - t) (p a + (1 - p) (1 - b)) + t c.

If a tie counts as half a win, the win rate is

    rate = (1 - t) p + t / 2 = (q - t c + (1 - t) (b - 1)) / (a + b - 1) + t / 2.

This formula assumes that a, b and c are the same on every prompt. The correction in `ppi` does not need this assumption.

Source: Rogan & Gladen, American Journal of Epidemiology 107 (1978); the variance comes from the delta method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.statistics import ALPHA
from preflab.analysis.winrates.shares import wilson_ends


@dataclass(frozen=True)
class ByErrorRates:
    """A win rate corrected by the judge's error rates.

    rate: the corrected win rate, where a tie counts as half a win; None if it could not be computed.
    youden: sensitivity + specificity - 1, with its confidence interval. None if people preferred the first answer on
    fewer than two labelled pairs, or preferred the second answer on fewer than two labelled pairs.
    reason: why `rate` is None; '' if there is a rate.
    """

    rate: Interval | None
    youden: Interval | None
    sensitivity: float | None = None
    specificity: float | None = None
    reason: str = ""


def correct_by_error_rates(labels: Floats, judged: Floats, outcomes: Floats) -> ByErrorRates:
    """Returns the win rate corrected by the judge's error rates. `labels`, `judged` [n]: people's labels and the judge's
    outcomes on the labelled pairs. `outcomes` [N]: the judge's outcomes on all pairs. The win rate is computed only if
    the whole interval of sensitivity + specificity - 1 is above 0, because the formula divides by this number."""
    won, lost = judged[labels > 0.5], 1 - judged[labels < 0.5]
    if len(won) < 2 or len(lost) < 2:
        return ByErrorRates(
            None,
            None,
            reason="fewer than two labels prefer the first answer, or fewer than two labels prefer the second answer",
        )
    a, b = float(won.mean()), float(lost.mean())
    youden = _youden(a, len(won), b, len(lost))
    if youden.low is None or youden.low <= 0:
        reason = "sensitivity + specificity - 1 is not clearly above 0"
        return ByErrorRates(None, youden, a, b, reason)
    tied = judged[labels == 0.5]
    t, gain = len(tied) / len(labels), a + b - 1
    c = float(tied.mean()) if len(tied) else 0.5
    q = float(outcomes.mean())
    rate = (q - t * c + (1 - t) * (b - 1)) / gain + t / 2
    wins = rate - t / 2
    variance = (
        float(outcomes.var(ddof=1)) / len(outcomes)
        + wins**2 * float(won.var(ddof=1)) / len(won)
        + (1 - t - wins) ** 2 * float(lost.var(ddof=1)) / len(lost)
        + t**2 * _variance_of_mean(tied)
        + (gain / 2 + 1 - b - c) ** 2 * t * (1 - t) / len(labels)
    ) / gain**2
    width = float(stats.norm.isf(ALPHA / 2)) * float(np.sqrt(variance))
    cut = [min(1.0, max(0.0, value)) for value in (rate, rate - width, rate + width)]
    interval = Interval(estimate=cut[0], low=cut[1], high=cut[2], se=float(np.sqrt(variance)), problems=len(outcomes))
    return ByErrorRates(interval, youden, a, b)


def _variance_of_mean(values: Floats) -> float:
    """Returns the variance of the mean of values in [0, 1]. With fewer than two values, returns 1/4, the largest
    possible variance."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.25


def _youden(a: float, won: int, b: float, lost: int) -> Interval:
    """Returns a + b - 1 with its confidence interval. The interval is computed from the Wilson intervals of a and b by
    Newcombe's method. `won`, `lost`: the numbers of pairs from which a and b were computed."""
    (low_a, high_a), (low_b, high_b) = wilson_ends(a, won), wilson_ends(b, lost)
    estimate = a + b - 1
    low = estimate - float(np.hypot(a - low_a, b - low_b))
    high = estimate + float(np.hypot(high_a - a, high_b - b))
    return Interval(estimate=estimate, low=low, high=high, problems=won + lost)
