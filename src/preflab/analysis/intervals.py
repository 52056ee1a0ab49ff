"""Intervals for the mean of a table of seeds x problems: pure functions on arrays, numpy and scipy alone.

A table d[s, p] (an arm's scores, or the paired difference of two arms) is read as

    d[s,p] = mean + A[s] + B[p] + E[s,p],        A: seed effects, B: problem effects, E: what is left,

all three random, because the claim is about training runs and problems that were *not* drawn. With the mean squares of
the two-way table, the mean's variance has two parts, one for each thing that was sampled:

    seed_part    = MS_seed / (S P)                              S-1 degrees of freedom
    problem_part = max(0, MS_problem - MS_residual) / (S P)     P-1 degrees of freedom

(E[seed_part] = var A / S + var E / (S P), E[problem_part] = var B / P.) Two rules make
a half width of them; docs/statistics.md holds their measured coverage:

`sharp_half_width`  for one interval: its level is nominal within two points from three seeds on.
`safe_half_width`   for several intervals at once, or two seeds: never covers less than its level, however high that is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]


class Crossed(NamedTuple):
    """The analysis of tables [..., S, P]: every field but the degrees of freedom has the shape [...]."""

    mean: Floats
    seed_part: Floats
    problem_part: Floats
    seed_df: int
    problem_df: int
    residual: Floats
    """MS_residual: the variance of E (sampling noise, and seeds meeting problems)."""

    @property
    def variance(self) -> Floats:
        return self.seed_part + self.problem_part

    @property
    def df(self) -> Floats:
        """1/df = share_seed/(S-1) + share_problem/(P-1), shares of the variance; S-1 where the variance is 0."""
        variance = self.variance
        share = np.divide(self.seed_part, variance, out=np.ones_like(variance), where=variance > 0)
        return 1 / (share / self.seed_df + (1 - share) / self.problem_df)


def analyse(tables: Floats) -> Crossed:
    """Two-way analysis of variance without replication of `tables` [..., S, P]; S and P at least 2.

    Source: Searle, Casella & McCulloch, Variance Components (1992), ch. 4, the crossed random model.
    """
    seeds, problems = tables.shape[-2:]
    if seeds < 2 or problems < 2:
        raise ValueError(f"a table of {seeds} seeds x {problems} problems has no variance to estimate")
    cells = seeds * problems
    mean = tables.mean(axis=(-2, -1))
    by_seed = tables.mean(axis=-1) - mean[..., None]
    by_problem = tables.mean(axis=-2) - mean[..., None]
    total = np.square(tables - mean[..., None, None]).sum(axis=(-2, -1))
    seed_squares, problem_squares = problems * np.square(by_seed).sum(-1), seeds * np.square(by_problem).sum(-1)
    ms_seed = seed_squares / (seeds - 1)
    ms_problem = problem_squares / (problems - 1)
    # Rounding may leave a negative rest where seeds and problems explain everything.
    residual = np.maximum(total - seed_squares - problem_squares, 0) / ((seeds - 1) * (problems - 1))
    problem_part = np.maximum(ms_problem - residual, 0) / cells
    return Crossed(mean, ms_seed / cells, problem_part, seeds - 1, problems - 1, residual)


def half_width(table: Crossed, alpha: float, family: float = 1.0) -> Floats:
    """Half the width of one of `family` intervals that all hold at once with probability 1 - `alpha` (Bonferroni)."""
    return safe_half_width(table, alpha / family) if _safe(table, family) else sharp_half_width(table, alpha)


def p_value(table: Crossed, distance: float, family: float = 1.0) -> float:
    """The smallest alpha, at most 1, whose `half_width` is not above `distance` (one table): the two-sided p-value of
    a mean that lies `distance` off, adjusted for the family. `distance` <= 0 gives 1.
    """
    if distance <= 0:
        return 1.0
    if table.variance == 0:
        return 0.0
    p = _safe_p_value(table, distance) if _safe(table, family) else _sharp_p_value(table, distance)
    return min(1.0, family * p)


def sharp_half_width(table: Crossed, alpha: float) -> Floats:
    """t(df) sqrt(seed_part + problem_part), with `Crossed.df`.

    Satterthwaite's degrees of freedom, 1/df = sum share^2/df, cover too little when few seeds carry most of the
    variance: a seed part that came out small by chance is believed. The unsquared share is the cure.
    """
    return stats.t.isf(alpha / 2, table.df) * np.sqrt(table.variance)


def safe_half_width(table: Crossed, alpha: float) -> Floats:
    """sqrt(t(S-1)^2 seed_part + t(P-1)^2 problem_part): covers at least 1 - `alpha` for every alpha and every split of
    the variance. Never below `sharp_half_width`, since t^2 is convex in 1/df.

    Source: Banerjee, Sankhya 22 (1960), for a sum of independent mean squares. `problem_part` is a difference of two,
    so the guarantee is exact only as problems grow many; from 30 on no shortfall was measured.
    """
    t_seed, t_problem = stats.t.isf(alpha / 2, table.seed_df), stats.t.isf(alpha / 2, table.problem_df)
    return np.sqrt(t_seed**2 * table.seed_part + t_problem**2 * table.problem_part)


def _safe(table: Crossed, family: float) -> bool:
    # Far in the tails, and with one degree of freedom, the sharp rule covers too little.
    return family > 1 or table.seed_df < 2


def _sharp_p_value(table: Crossed, distance: float) -> float:
    return float(2 * stats.t.sf(distance / np.sqrt(table.variance), table.df))


def _safe_p_value(table: Crossed, distance: float) -> float:
    def excess(log_alpha: float) -> float:  # falls as alpha grows, and is -distance at alpha 1
        return float(safe_half_width(table, float(np.exp(log_alpha)))) - distance

    smallest = float(np.log(1e-100))
    if excess(smallest) <= 0:
        return 0.0
    return float(np.exp(optimize.root_scalar(excess, bracket=(smallest, 0.0), xtol=1e-10).root))
