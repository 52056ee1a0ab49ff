"""Computes the win rate, and the shares of wins, ties and losses, of one pair of arms. Does not import torch."""

from __future__ import annotations

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.statistics import ALPHA
from preflab.analysis.winrates.cells import ONE_SEED, has_no_width, mean_of_cells

SEEDS_AGREE = "all cells are equal, so the interval is over prompts and says nothing about other training runs"


def win_rate(outcomes: Floats, *, family: float = 1.0) -> Interval:
    """Returns the mean outcome of a table [S, P] of outcomes. `family`: the number of win rates whose intervals must
    hold simultaneously."""
    return share_interval(outcomes, family=family)


def outcome_shares(outcomes: Floats, unreadable: Floats) -> dict[str, Interval]:
    """Returns the shares of wins, ties, losses and unreadable verdicts among all cells of a table [S, P]. `unreadable` is
    1 for a cell whose verdict could not be read, and 0 for every other cell. An unreadable verdict is not counted as a
    tie."""
    read = unreadable == 0
    parts = {"win": read & (outcomes == 1), "tie": read & (outcomes == 0.5), "loss": read & (outcomes == 0)}
    return {name: share_interval(part.astype(float)) for name, part in parts.items()} | {
        "unreadable": share_interval(unreadable)
    }


def unreadable_bounds(outcomes: Floats, unreadable: Floats) -> tuple[float, float]:
    """Returns two win rates: if every unreadable verdict were a loss, and if every unreadable verdict were a win."""
    read = unreadable == 0
    return float(np.where(read, outcomes, 0.0).mean()), float(np.where(read, outcomes, 1.0).mean())


def share_interval(table: Floats, *, family: float = 1.0) -> Interval:
    """Returns the mean of a table [S, P] of values in [0, 1]. With one seed, the interval is Wilson's. It has a width
    even if the mean is 0 or 1. If some values lie between 0 and 1, it is wider than necessary, because their variance
    is smaller than the variance of a share. With several seeds, the interval is computed as for the mean of the cells,
    and cut at 0 and 1. If the cells show no spread, it is Wilson's over the prompts.

    Source: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    seeds, prompts = table.shape
    if seeds > 1:
        crossed = mean_of_cells(table, family=family).within(0.0, 1.0)
        if not has_no_width(crossed):
            return crossed
    low, high = wilson_ends(float(table.mean()), prompts, ALPHA / family)
    reason = ONE_SEED if seeds == 1 else SEEDS_AGREE
    return Interval(estimate=float(table.mean()), low=low, high=high, seeds=seeds, problems=prompts, reason=reason)


def wilson_ends(share: float, count: float, alpha: float = ALPHA, *, df: float | None = None) -> tuple[float, float]:
    """Returns the ends of Wilson's interval of a share among `count` independent values, at level 1 - alpha. Uses
    Student's quantile instead of the normal quantile, which makes a difference for small counts. `df`: the degrees of
    freedom; None means count - 1."""
    z = float(stats.t.isf(alpha / 2, max(count - 1, 1) if df is None else df))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(max(0.0, middle - width)), float(min(1.0, middle + width))
