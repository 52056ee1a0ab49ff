"""Computes a judge's position bias: how often the judge prefers an answer because it is shown first. Does not import
torch."""

from __future__ import annotations

import numpy as np

from preflab.analysis.record import Interval
from preflab.analysis.winrates.judged import Verdicts
from preflab.analysis.winrates.shares import share_interval

ONE_SIDED = 0.9
"""The share of replies from which a judge is called one-sided. The share counts the replies that choose the answer in the
same place (the answer shown first, or the answer shown second)."""


def position_bias(verdicts: Verdicts) -> Interval | None:
    """Returns the share of replies in which the judge chose the answer that was shown first. A judge without a position
    bias has a share of one half. The interval is over the prompts. For each prompt, the share is computed from the
    replies on all pairs of answers to this prompt, under all seeds. Leaves out pairs with an unreadable reply, and
    pairs that the judge saw in only one order. Returns None if no pair is left.

    The judge sees each pair in two orders. If it chooses the same answer in both orders, the pair contributes exactly
    one half. A share other than one half therefore comes only from the other pairs. On such a pair, the judge chose the
    answer shown first in both orders, or the answer shown second in both orders.
    """
    columns: list[float] = []
    for column in zip(*verdicts, strict=True):
        shown = [each for cell in column for verdict in cell if (each := verdict.chose_first_shown) is not None]
        if shown:
            columns.append(float(np.array(shown).mean(axis=0).mean()))
    return share_interval(np.array([columns])) if columns else None


def describe_one_side(bias: Interval) -> str:
    """Returns a warning if the judge is one-sided. Nearly all replies of a one-sided judge choose the answer in the
    same place (shown first, or shown second). Returns '' for any other judge."""
    if bias.estimate is None or 1 - ONE_SIDED < bias.estimate < ONE_SIDED:
        return ""
    place = "first" if bias.estimate >= ONE_SIDED else "second"
    return (
        f"The judge chooses the answer shown {place} in nearly all replies that can be read. It judges the place, not the "
        "answers, so its ties do not mean equal quality. Use another judge or another template."
    )
