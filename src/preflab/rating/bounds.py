"""Computes 95% intervals for shares, and for the agreement of raters. The intervals treat the prompts as a random
sample. All labels of a prompt are therefore combined into one value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats

Sums = NDArray[np.float64]
_LEVEL = 0.95
CHOICES = (1.0, 0.5, 0.0)
"""The outcomes that a label can have, in the order of the rows and columns of a table of agreement."""


class Bounded(BaseModel):
    """An estimate with its 95% interval over prompts. `value` is None if the quantity is not defined. `low` and `high`
    are None if there is no interval. `reason` explains why a number is missing. `prompts`: the number of prompts on
    which the estimate is based."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: float | None
    low: float | None
    high: float | None
    prompts: int
    reason: str = ""


def bound_share(values: Sequence[float]) -> Bounded:
    """Returns the mean of values between 0 and 1, one for each prompt, with its interval.

    The interval is Wilson's score interval with t quantiles. In the formula, an effective number n_eff replaces the
    number n of values: n_eff = mean (1 - mean) / (variance / n), with the sample variance. With this n_eff, the
    variance of a share, mean (1 - mean) / n_eff, equals the variance of the mean, variance / n. If every
    value is 0 or 1, and both occur, n_eff is n - 1. Values between 0 and 1 make n_eff larger and the interval narrower.
    If all values are equal, n_eff is set to n, so that the interval still has a width. Sources: Wilson, JASA 22 (1927);
    the effective number as in Korn and Graubard, Survey Methodology 24 (1998).
    """
    count = len(values)
    if count == 0:
        return Bounded(value=None, low=None, high=None, prompts=0, reason="there is no label")
    mean = float(np.mean(values))
    if count == 1:
        return Bounded(value=mean, low=None, high=None, prompts=1, reason="one prompt has no interval")
    spread = float(np.var(values, ddof=1))
    size = mean * (1 - mean) * count / spread if spread > 0 else float(count)
    t = float(stats.t.isf((1 - _LEVEL) / 2, count - 1))
    middle = (mean + t**2 / (2 * size)) / (1 + t**2 / size)
    width = t / (1 + t**2 / size) * np.sqrt(mean * (1 - mean) / size + t**2 / (4 * size**2))
    return Bounded(value=mean, low=max(0.0, float(middle - width)), high=min(1.0, float(middle + width)), prompts=count)


def bound_kappa(rows: Sums, kappa: Callable[[Sums], tuple[float, float]], raw: Bounded) -> Bounded:
    """Returns a kappa with its interval. The interval is computed by the jackknife with t quantiles: kappa is computed
    again with each prompt left out in turn.

    `rows`: for each prompt, the sums from which `kappa` is computed. `kappa`: a function that returns two numbers. The
    first number is the agreement expected by chance alone. The second number is kappa, or NaN if the first number is 1.
    `raw`: the raw agreement. If leaving out a prompt never changes kappa, the bounds of the raw agreement are converted
    to kappa instead.
    """
    count = len(rows)
    if count == 0:
        return Bounded(value=None, low=None, high=None, prompts=0, reason="no pair has two labels")
    total = rows.sum(axis=0)
    chance, value = kappa(total)
    if np.isnan(value):
        reason = "all labels are the same, so that chance alone would always agree"
        return Bounded(value=None, low=None, high=None, prompts=count, reason=reason)
    if count == 1:
        return Bounded(value=value, low=None, high=None, prompts=1, reason="one prompt has no interval")
    left_out = np.array([kappa(total - row)[1] for row in rows])
    if np.isnan(left_out).any():
        reason = "there is no interval, because all labels are the same if one prompt is left out"
        return Bounded(value=value, low=None, high=None, prompts=count, reason=reason)
    error = np.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum())
    if error < 1e-12 and raw.low is not None and raw.high is not None:
        low, high = ((bound - chance) / (1 - chance) for bound in (raw.low, raw.high))
    else:
        width = float(stats.t.isf((1 - _LEVEL) / 2, count - 1) * error)
        low, high = value - width, value + width
    return Bounded(value=value, low=max(-1.0, low), high=min(1.0, high), prompts=count)


def cohen(total: Sums) -> tuple[float, float]:
    """Returns the agreement expected by chance, and Cohen's kappa, for a table (3 x 3, flattened) of two raters'
    outcomes. Source: Cohen, Educational and Psychological Measurement 20 (1960)."""
    table = total.reshape(len(CHOICES), len(CHOICES)) / total.sum()
    return _scale(float(np.trace(table)), float(table.sum(axis=0) @ table.sum(axis=1)))


def fleiss(total: Sums) -> tuple[float, float]:
    """Returns the agreement expected by chance, and Fleiss' kappa. Each pair of answers has five numbers: the share of
    its rater pairs that agree, the share of its labels with the outcome 1, the share with .5, the share with 0, and the
    number 1. `total` contains the sum of each of the five numbers over all pairs of answers. The sum of the number 1 is
    the number of pairs of answers. The number of raters can differ between pairs of answers. Source: Fleiss,
    Psychological Bulletin 76 (1971)."""
    agreement, *shares = total[:-1] / total[-1]
    return _scale(float(agreement), float(np.square(shares).sum()))


def _scale(agreement: float, chance: float) -> tuple[float, float]:
    return chance, float("nan") if chance > 1 - 1e-12 else (agreement - chance) / (1 - chance)
