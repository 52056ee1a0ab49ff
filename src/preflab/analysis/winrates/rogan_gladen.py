"""Corrects a win rate by the judge's error rates (Rogan & Gladen). This is a sensitivity analysis beside `ppi`. Does
not import torch.

The judge has a mean outcome q over all pairs. Three numbers are measured on labelled pairs. The sensitivity
a is the mean outcome where people prefer the first answer. The specificity b is 1 minus the mean outcome where people
prefer the second answer. c is the mean outcome where people see a tie. People see a tie in a share t of the labelled
pairs. Let p be the win rate among the pairs with a winner. Then

    q = (1 - t) (p a + (1 - p) (1 - b)) + t c.

If a tie counts as half a win, the win rate is

    rate = (1 - t) p + t / 2 = (q - t c + (1 - t) (b - 1)) / (a + b - 1) + t / 2.

This formula assumes that a, b and c are the same on every prompt; `ppi` does not assume this.

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
    """rate: the win rate by the error rates (a tie is half a win), or None. reason: why rate is None, or ''. youden:
    sensitivity + specificity - 1, with its confidence interval. youden is None if the labels have too few pairs that the
    first answer won, or too few that the second answer won."""

    rate: Interval | None
    youden: Interval | None
    sensitivity: float | None = None
    specificity: float | None = None
    reason: str = ""


def correct_by_error_rates(labels: Floats, judged: Floats, outcomes: Floats) -> ByErrorRates:
    """Returns the win rate by the judge's error rates on the labelled pairs. `labels`, `judged` [n]: outcomes by people and
    by the judge. `outcomes` [N]: the judge's outcomes of all pairs. There is a rate only if the whole interval of
    sensitivity + specificity - 1 is above 0. Near 0, the division turns noise into arbitrary numbers."""
    won, lost = judged[labels > 0.5], 1 - judged[labels < 0.5]
    if len(won) < 2 or len(lost) < 2:
        return ByErrorRates(
            None,
            None,
            reason="fewer than two labels say that the first answer won, or fewer than two say that the second won",
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
    """Returns a + b - 1 with its confidence interval, which Newcombe's method computes from the Wilson intervals of a
    and b."""
    (low_a, high_a), (low_b, high_b) = wilson_ends(a, won), wilson_ends(b, lost)
    estimate = a + b - 1
    low = estimate - float(np.hypot(a - low_a, b - low_b))
    high = estimate + float(np.hypot(high_a - a, high_b - b))
    return Interval(estimate=estimate, low=low, high=high, problems=won + lost)
