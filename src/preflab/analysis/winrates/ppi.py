"""Corrects a judge's win rate by prediction-powered inference, with people's labels of some judged pairs. Does not
import torch.

The judge gives an outcome f on n + u prompts. On n of these prompts, drawn at random, people give a label Y in
{0, .5, 1}. F is the mean of f over the u prompts without a label. The estimate and its variance are

    estimate = mean_n( Y - lambda (f - F) ),    variance = var_n( Y - lambda (f - F) ) / n + lambda^2 var_u(f) / u.

The estimate is unbiased for every fixed lambda, even if the judge is often wrong. The best lambda is cov(Y, f) / ((1 +
n/u) var f). For a perfect judge, the best lambda is near 1/(1 + n/u). For a useless judge, the best lambda is 0, and the
estimate is the mean of the labels. lambda is estimated from the labels by cross-fitting: the lambda of a label is
estimated from the labels in the other folds.

The interval is Wilson's interval for n_eff labels. It uses Student's quantile for n - 1 degrees of freedom instead of
the normal quantile. The effective number of labels is

    n_eff = m (1 - m) / (variance + lambda^2 / n^2),    m: the mean of the labels.

The mean of n_eff labels would be as precise as the estimate. The term lambda^2 / n^2 has the effect of one more label
on which the judge and people disagree. Without this term, the variance is underestimated if the judge and people
disagree on few labels or on none. If all labels are equal, lambda cannot be estimated. The interval is then computed
from the labels alone (Clopper & Pearson 1934).

Source: Angelopoulos, Duchi & Zrnic, PPI++ (2023); cross-fitting: Zrnic & Candès (2024); effective number: Korn & Graubard
(1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preflab.analysis.intervals import Floats, exact_ends
from preflab.analysis.record import Interval
from preflab.analysis.spread import ROUNDING
from preflab.analysis.statistics import ALPHA
from preflab.analysis.winrates.shares import wilson_ends

FOLDS = 10
FEWEST = 50
"""The smallest number of labels from which a win rate is corrected. docs/statistics.md explains why fewer labels are not
enough."""
ALL_EQUAL = "all labels are equal, so the interval is computed from the labels alone, without the judge"


@dataclass(frozen=True)
class Corrected:
    """A corrected win rate. rate: the corrected win rate. labels: the number of people's labels. weight: the mean of
    lambda, the weight of the judge. labels_alone: the mean of the labels, which does not use the judge."""

    rate: Interval
    labels: int
    weight: float
    labels_alone: Interval


def correct_by_labels(labels: Floats, judged: Floats, unlabelled: Floats, *, family: float = 1.0) -> Corrected:
    """Returns the corrected win rate. `labels` [n]: people's labels. `judged` [n]: the judge's outcomes on the prompts
    with a label. `unlabelled` [u]: the judge's outcomes on the prompts without a label. n must be at least 2. The folds
    depend on the order of the labels, so this order must not depend on the outcomes. `family`: the number of
    simultaneous intervals for which the interval is adjusted."""
    count = len(labels)
    alone = _bound(labels, float(labels.mean()), float(labels.var(ddof=1)) / count, every=count, family=family)
    if len(unlabelled) < 2:
        return Corrected(alone, count, 0.0, alone)
    centre = float(unlabelled.mean())
    weights = cross_fit(labels, judged, len(unlabelled))
    rectified = labels - weights * (judged - centre)
    weight = float(weights.mean())
    variance = float(rectified.var(ddof=1)) / count + weight**2 * float(unlabelled.var(ddof=1)) / len(unlabelled)
    smoothed = variance + weight**2 / count**2
    rate = _bound(labels, float(rectified.mean()), smoothed, every=count + len(unlabelled), family=family)
    return Corrected(rate, count, weight, alone)


def cross_fit(labels: Floats, judged: Floats, unlabelled: int) -> Floats:
    """Returns the weight lambda for each label, [n]. Each weight is in [0, 1] and is estimated from the labels in the
    other folds."""
    count = len(labels)
    folds = np.arange(count) % min(FOLDS, count)

    def mean_of_others(values: Floats) -> Floats:
        """Returns, for each fold, the mean of the values in all other folds."""
        sums, sizes = np.bincount(folds, values), np.bincount(folds)
        return (sums.sum() - sums) / (count - sizes)

    y, f = mean_of_others(labels), mean_of_others(judged)
    spread = mean_of_others(judged**2) - f**2
    covariance = mean_of_others(labels * judged) - y * f
    best = np.divide(covariance, (1 + count / unlabelled) * spread, out=np.zeros_like(y), where=spread > ROUNDING)
    return np.clip(best, 0.0, 1.0)[folds]


def _bound(labels: Floats, estimate: float, variance: float, *, every: int, family: float) -> Interval:
    """Returns Wilson's interval of an estimate with the variance `variance`. If all labels are equal, returns Clopper
    and Pearson's interval, computed from the labels alone. `every`: the number of prompts that the estimate uses, with
    or without a label. The effective number of labels has a lower and an upper limit. The lower limit is n. The upper
    limit is the effective number that would result if people labelled all of these prompts."""
    count, mean, spread = len(labels), float(labels.mean()), float(labels.var(ddof=1))
    share = min(1.0, max(0.0, estimate))
    known = Interval(estimate=share, se=float(np.sqrt(variance)), df=count - 1, problems=count)
    if spread < ROUNDING:
        low, high = exact_ends(mean, count, ALPHA / family)
        return known.model_copy(update={"low": low, "high": high, "reason": ALL_EQUAL})
    most = every * mean * (1 - mean) / spread
    size = min(most, max(count, mean * (1 - mean) / variance))
    low, high = wilson_ends(share, size, ALPHA / family, df=count - 1)
    return known.model_copy(update={"low": low, "high": high})
