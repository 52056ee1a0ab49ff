"""Computes confidence intervals for the mean of a table of seeds x problems. Uses numpy and scipy.

The model of a table d[s, p] (an arm's scores, or the paired differences of two arms) is

    d[s,p] = mean + A[s] + B[p] + E[s,p],        A: seed effects, B: problem effects, E: residuals.

A, B and E are all random effects, because claims are about runs and problems in general, and not only about the runs
and problems in the table. The variance of the mean is the sum of a seed part and a problem part. Both parts are computed
from the mean squares (MS) of the two-way analysis of variance:

    seed_part    = MS_seed / (S P)                              S-1 degrees of freedom
    problem_part = max(0, MS_problem - MS_residual) / (S P)     P-1 degrees of freedom

(E[seed_part] = var A / S + var E / (S P), E[problem_part] = var B / P.)

Two functions compute the half width of an interval from the seed part and the problem part. `sharp_half_width` is for a
single interval with three or more seeds. Its coverage differs from the nominal level by at most two percentage points.
`safe_half_width` is for several simultaneous intervals, or for two seeds. Its coverage is at least the nominal level, for
every level. docs/statistics.md lists the measured coverage of both functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]


class Crossed(NamedTuple):
    """The two-way analysis of variance of tables [..., S, P]. The fields are arrays of shape [...], except the degrees
    of freedom `seed_df` and `problem_df`, which are integers."""

    mean: Floats
    seed_part: Floats
    problem_part: Floats
    seed_df: int
    problem_df: int
    residual: Floats
    """MS_residual: the variance of E (the sampling noise and the interaction of seeds with problems)."""

    @property
    def variance(self) -> Floats:
        return self.seed_part + self.problem_part

    @property
    def df(self) -> Floats:
        """The degrees of freedom: 1/df = share_seed/(S-1) + share_problem/(P-1). share_seed is `seed_part` divided by
        the variance, and share_problem is `problem_part` divided by the variance. If the variance is 0, df is S-1."""
        variance = self.variance
        share = np.divide(self.seed_part, variance, out=np.ones_like(variance), where=variance > 0)
        return 1 / (share / self.seed_df + (1 - share) / self.problem_df)


def analyse(tables: Floats) -> Crossed:
    """Computes the two-way analysis of variance, without replication, of `tables` [..., S, P]. S and P must be at least
    2.

    Source: Searle, Casella & McCulloch, Variance Components (1992), ch. 4, the crossed random model.
    """
    seeds, problems = tables.shape[-2:]
    if seeds < 2 or problems < 2:
        raise ValueError(
            f"a table of {seeds} seeds x {problems} problems is too small to estimate a variance. Give at least 2 "
            "seeds and 2 problems."
        )
    cells = seeds * problems
    mean = tables.mean(axis=(-2, -1))
    by_seed = tables.mean(axis=-1) - mean[..., None]
    by_problem = tables.mean(axis=-2) - mean[..., None]
    total = np.square(tables - mean[..., None, None]).sum(axis=(-2, -1))
    seed_squares, problem_squares = problems * np.square(by_seed).sum(-1), seeds * np.square(by_problem).sum(-1)
    ms_seed = seed_squares / (seeds - 1)
    ms_problem = problem_squares / (problems - 1)
    # If seed and problem effects explain the whole table, rounding errors can make this difference negative.
    residual = np.maximum(total - seed_squares - problem_squares, 0) / ((seeds - 1) * (problems - 1))
    problem_part = np.maximum(ms_problem - residual, 0) / cells
    return Crossed(mean, ms_seed / cells, problem_part, seeds - 1, problems - 1, residual)


def analyse_one_run(table: Floats) -> Crossed:
    """Analyses the table [1, P] of one run. Only the choice of the problems is treated as random, not the run. Treats
    the P cells as independent to compute the variance of their mean. P must be at least 2."""
    problems = table.shape[-1]
    part = table.var(axis=(-2, -1), ddof=1) / problems
    zero = np.zeros_like(part)
    return Crossed(table.mean(axis=(-2, -1)), zero, part, 1, problems - 1, zero)


def half_width(table: Crossed, alpha: float, family: float = 1.0) -> Floats:
    """Returns half the width of the interval. `family`: the number of simultaneous intervals. With a probability of at
    least 1 - `alpha`, all simultaneous intervals contain their true values (Bonferroni)."""
    return safe_half_width(table, alpha / family) if _safe(table, family) else sharp_half_width(table, alpha)


def p_value(table: Crossed, distance: float, family: float = 1.0) -> float:
    """Returns the two-sided p-value of the table's mean, adjusted for `family` comparisons.

    The p-value is the smallest alpha for which `half_width` is at most `distance`. The p-value is at most 1. `table`:
    the analysis of a single table. `distance`: |mean of the table| - margin, for the hypothesis that the true mean lies
    between -margin and +margin. If `distance` is 0 or less, the p-value is 1.
    """
    if distance <= 0:
        return 1.0
    if table.variance == 0:
        return 0.0
    p = _safe_p_value(table, distance) if _safe(table, family) else _sharp_p_value(table, distance)
    return min(1.0, family * p)


def sharp_half_width(table: Crossed, alpha: float) -> Floats:
    """Returns t(df) sqrt(seed_part + problem_part), where df is `Crossed.df`.

    Satterthwaite's degrees of freedom are given by 1/df = share_seed^2/(S-1) + share_problem^2/(P-1). With few seeds,
    the estimated seed part can be too small by chance. An interval with Satterthwaite's degrees of freedom then has a
    coverage that is too small if most of the variance comes from the seeds. `Crossed.df` uses the shares without the
    squares, which corrects the coverage.
    """
    return stats.t.isf(alpha / 2, table.df) * np.sqrt(table.variance)


def safe_half_width(table: Crossed, alpha: float) -> Floats:
    """Returns sqrt(t(S-1)^2 seed_part + t(P-1)^2 problem_part). The coverage is at least 1 - `alpha`, for every `alpha`
    and for every ratio of `seed_part` to `problem_part`. The result is at least as large as `sharp_half_width`, because
    t^2 is convex in 1/df.

    Source: Banerjee, Sankhya 22 (1960), for a sum of independent mean squares. `problem_part` is a difference of two
    mean squares, so the guarantee is exact only in the limit of many problems. With 30 or more problems, the measured
    coverage was never too small.
    """
    t_seed, t_problem = stats.t.isf(alpha / 2, table.seed_df), stats.t.isf(alpha / 2, table.problem_df)
    return np.sqrt(t_seed**2 * table.seed_part + t_problem**2 * table.problem_part)


def _safe(table: Crossed, family: float) -> bool:
    # `sharp_half_width` has a coverage that is too small with two seeds, and with the very small alpha of a large family.
    return family > 1 or table.seed_df < 2


def _sharp_p_value(table: Crossed, distance: float) -> float:
    return float(2 * stats.t.sf(distance / np.sqrt(table.variance), table.df))


def _safe_p_value(table: Crossed, distance: float) -> float:
    # `excess` falls as alpha rises. At alpha = 1 the half width is 0, so `excess` is -distance, which is negative. The root
    # is therefore at an alpha below 1.
    def excess(log_alpha: float) -> float:
        return float(safe_half_width(table, float(np.exp(log_alpha)))) - distance

    smallest = float(np.log(1e-100))
    if excess(smallest) <= 0:
        return 0.0
    return float(np.exp(optimize.root_scalar(excess, bracket=(smallest, 0.0), xtol=1e-10).root))


def exact_ends(share: float, count: int, alpha: float) -> tuple[float, float]:
    """Returns the two ends of Clopper and Pearson's interval for a share of successes in `count` trials, at level 1 -
    alpha."""
    wins = share * count
    low = float(stats.beta.ppf(alpha / 2, wins, count - wins + 1)) if share > 0 else 0.0
    high = float(stats.beta.ppf(1 - alpha / 2, wins + 1, count - wins)) if share < 1 else 1.0
    return low, high
