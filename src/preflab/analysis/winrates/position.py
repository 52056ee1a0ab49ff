"""Computes a judge's position bias: how often the judge prefers an answer because it is shown first. Does not import
torch."""

from __future__ import annotations

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.winrates.shares import share_interval

ONE_SIDED = 0.9
"""If the judge chooses the answer in the same place (first or second) in at least this share of its replies, the judge
is called one-sided."""


def position_bias(chose_first_shown: Floats) -> Interval | None:
    """Returns the share of choices for the answer that was shown first, over both orders of each pair. Without a bias it
    is one half. `chose_first_shown` [pairs, 2]: for each order, 1 if the judge chose the answer that was shown first,
    else 0. Returns None if there are no pairs.

    If both orders of a pair agree, the pair contributes exactly one half. The bias therefore comes only from pairs
    whose orders disagree. On these pairs the judge chose the answer shown first twice, or the answer shown second
    twice.
    """
    if not len(chose_first_shown):
        return None
    return share_interval(chose_first_shown.mean(axis=1)[None, :])


def describe_one_side(bias: Interval) -> str:
    """Returns a sentence about a judge that chooses the answer in the same place in nearly all replies; '' for any
    other judge."""
    if bias.estimate is None or 1 - ONE_SIDED < bias.estimate < ONE_SIDED:
        return ""
    place = "first" if bias.estimate >= ONE_SIDED else "second"
    return (
        f"The judge chooses the answer shown {place} in nearly all replies that can be read. It judges the place, not the "
        "answers, so its ties do not mean equal quality. Use another judge or another template."
    )
