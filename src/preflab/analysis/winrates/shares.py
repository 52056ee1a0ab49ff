"""Computes the win rate, and the shares of wins, ties and losses, of one pair of arms. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

import numpy as np
from scipy import stats

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.statistics import ALPHA
from preflab.analysis.winrates.cells import ONE_SEED, has_no_width, mean_of_cells
from preflab.analysis.winrates.judged import Verdicts, cell_means
from preflab.evaluation.pairwise import LOSS, TIE, WIN
from preflab.evaluation.preference.base import PairVerdict

OUTCOME_VALUES = {"win": WIN, "tie": TIE, "loss": LOSS}

SEEDS_AGREE = "all cells are equal, so the interval is over prompts and says nothing about other training runs"


def win_rate(outcomes: Floats, *, family: float = 1.0) -> Interval:
    """Returns the win rate, which is the mean of a table [S, P] of outcomes, with its interval. `family`: the number of
    simultaneous intervals for which this interval is adjusted."""
    return share_interval(outcomes, family=family)


def outcome_shares(verdicts: Verdicts, interval: Callable[[Floats], Interval]) -> dict[str, Interval]:
    """Returns the shares of wins, ties, losses and unreadable verdicts. An unreadable verdict is not counted as a tie.
    `interval`: a function that computes the mean of a table [S, P] with its interval."""
    shares = {name: interval(cell_means(verdicts, partial(_share, value))) for name, value in OUTCOME_VALUES.items()}
    return shares | {"unreadable": interval(cell_means(verdicts, lambda verdict: float(verdict.unreadable)))}


def _share(value: float, verdict: PairVerdict) -> float:
    """Returns 1 if the verdict has the outcome `value`, else 0. If people labelled the pair, returns the share of the
    labels that equal `value`. For example, if one rater prefers the first answer and another rater prefers the second
    answer, the pair counts as half a win and half a loss."""
    if verdict.labels:
        return fmean(float(label == value) for label in verdict.labels)
    return float(verdict.outcome == value and not verdict.unreadable)


def unreadable_bounds(verdicts: Verdicts) -> tuple[float, float]:
    """Returns two win rates: the win rate if every unreadable verdict were a loss, and the win rate if every unreadable
    verdict were a win."""
    lowest, highest = (
        cell_means(verdicts, lambda verdict, end=end: end if verdict.unreadable else verdict.outcome)
        for end in (LOSS, WIN)
    )
    return float(lowest.mean()), float(highest.mean())


def share_interval(table: Floats, *, family: float = 1.0) -> Interval:
    """Returns the mean of a table [S, P] of values in [0, 1], with its interval.

    With one seed, the interval is Wilson's interval, which has a positive width even if the mean is 0 or 1. Wilson's
    interval assumes values of 0 and 1. If some values lie between 0 and 1, the interval is wider than necessary. With
    several seeds, the interval comes from `mean_of_cells` and is clipped to [0, 1]. If the cells show no spread, the
    interval is Wilson's interval over the prompts.

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
    """Returns the two ends of Wilson's interval for a share among `count` independent values, at level 1 - alpha. Uses
    Student's quantile instead of the normal quantile, so that the interval is wider for small counts. `df`: the degrees
    of freedom; None means count - 1."""
    z = float(stats.t.isf(alpha / 2, max(count - 1, 1) if df is None else df))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    width = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return float(max(0.0, middle - width)), float(min(1.0, middle + width))
