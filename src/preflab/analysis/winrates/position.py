"""Computes a judge's position bias: how often it prefers the answer that is shown first, because it is first. No torch."""

from __future__ import annotations

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.winrates.shares import share_interval


def position_bias(chose_first_shown: Floats) -> Interval | None:
    """Returns the share of choices for the answer that was shown first, over both orders of each pair. Without a bias it
    is one half. `chose_first_shown` [pairs, 2]: 1 if the judge chose the answer that was shown first, in each order.
    Returns None without pairs.

    A pair on which both orders agree contributes exactly one half. So the bias comes from the pairs whose orders
    disagree alone: always the first answer, or always the second.
    """
    if not len(chose_first_shown):
        return None
    return share_interval(chose_first_shown.mean(axis=1)[None, :])
