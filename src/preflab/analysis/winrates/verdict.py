"""Decides whether the first of two sides is preferred, from the interval of its win rate. Does not import torch."""

from __future__ import annotations

from preflab.analysis.record import ComparisonVerdict, Interval

EVEN = 0.5
"""The expected win rate of two equally good sides."""


def decide_win_rate(rate: Interval, *, trusted: bool) -> ComparisonVerdict:
    """Returns whether a win rate's interval lies wholly above one half ('better'), wholly below it ('worse'), or
    neither ('not decided'). `trusted`: False if the judge may be no better than a coin. Nothing is then decided."""
    if not trusted or rate.low is None or rate.high is None:
        return "not decided"
    return "better" if rate.low > EVEN else "worse" if rate.high < EVEN else "not decided"
