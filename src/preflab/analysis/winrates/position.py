"""Computes a judge's position bias: how often the judge prefers an answer because it is shown first. Does not import
torch."""

from __future__ import annotations

import numpy as np

from preflab.analysis.record import Interval
from preflab.analysis.winrates.judged import Verdicts
from preflab.analysis.winrates.shares import share_interval

ONE_SIDED = 0.9
"""If the judge chooses the answer in the same place (first or second) in at least this share of its replies, the judge
is called one-sided."""


def position_bias(verdicts: Verdicts) -> Interval | None:
    """Returns the share of choices for the answer that was shown first, over both orders of each pair. Without a bias it
    is one half. The interval is over the prompts; the value of a prompt is the mean over its pairs under all seeds. Leaves
    out pairs with an unreadable reply, and pairs that the judge was not asked about in both orders. Returns None if no
    pair is left.

    If both orders of a pair agree, the pair contributes exactly one half. The bias therefore comes only from pairs
    whose orders disagree. On these pairs the judge chose the answer shown first twice, or the answer shown second
    twice.
    """
    columns: list[float] = []
    for column in zip(*verdicts, strict=True):
        shown = [each for cell in column for verdict in cell if (each := verdict.chose_first_shown) is not None]
        if shown:
            columns.append(float(np.array(shown).mean(axis=0).mean()))
    return share_interval(np.array([columns])) if columns else None


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
