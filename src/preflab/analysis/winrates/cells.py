"""Computes the confidence interval of an estimate from the influences of the cells of a table of seeds x prompts. Does
not import torch.

The influence of a cell is the effect of this cell on the estimate (the influence function of statistics). To first order,
the estimation error is the mean of the influences. The interval of the estimate is therefore computed like the interval
of a mean over cells. With several seeds, `intervals.analyse` treats seeds and prompts as random. With one seed, the
interval is Student's t interval over the prompts.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Floats, analyse, half_width
from preflab.analysis.record import Interval
from preflab.analysis.spread import ROUNDING
from preflab.analysis.statistics import ALPHA

ONE_SEED = "there is one seed, so the interval says nothing about other training runs"
FEW_PROMPTS = "there is one prompt, so the spread between prompts cannot be estimated and there is no interval"
NO_SPREAD = "the cells show no spread, so the interval has no width and says nothing about other prompts"


def cell_interval(estimate: float, influence: Floats, *, family: float = 1.0) -> Interval:
    """Returns the confidence interval of an estimate. `influence` [S, P]: the influence of each cell on the estimate.
    `family`: the number of simultaneous intervals for which this interval is adjusted (Bonferroni)."""
    seeds, prompts = influence.shape
    known = Interval(estimate=estimate, seeds=seeds, problems=prompts)
    if prompts < 2:
        return known.model_copy(update={"reason": FEW_PROMPTS})
    if seeds < 2:
        error = float(influence.std(ddof=1)) / np.sqrt(prompts)
        width, df = float(stats.t.isf(ALPHA / family / 2, prompts - 1)) * error, float(prompts - 1)
    else:
        table = analyse(influence)
        width, df = float(half_width(table, ALPHA, family)), float(table.df)
        error = float(np.sqrt(table.variance))
    flat = width <= ROUNDING * max(1.0, abs(estimate))
    reason = NO_SPREAD if flat else ONE_SEED if seeds < 2 else ""
    ends = {"low": estimate - width, "high": estimate + width}
    return known.model_copy(update={**ends, "se": float(error), "df": df, "reason": reason})


def has_no_width(interval: Interval) -> bool:
    """Returns True if the two ends of the interval are equal, up to rounding errors."""
    if interval.estimate is None or interval.low is None or interval.high is None:
        return False
    return interval.high - interval.low <= 2 * ROUNDING * max(1.0, abs(interval.estimate))


def mean_of_cells(table: Floats, *, family: float = 1.0) -> Interval:
    """Returns the mean over all cells of a table [S, P], with its confidence interval. `family`: see `cell_interval`."""
    return cell_interval(float(table.mean()), table, family=family)
