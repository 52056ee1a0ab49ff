"""Decides from the interval of a win rate whether the first arm or contestant is preferred. Does not import torch."""

from __future__ import annotations

from preflab.analysis.record import ComparisonVerdict, Interval

EVEN = 0.5
"""The expected win rate if the two arms or contestants are equally good."""


def decide_win_rate(rate: Interval, *, trusted: bool) -> ComparisonVerdict:
    """Returns 'better' if the whole interval of the win rate is above one half, 'worse' if the whole interval is below
    one half, and 'not decided' if the interval contains one half. `trusted`: False if a check did not show that the
    judge is better than a coin. The result is then always 'not decided'."""
    if not trusted or rate.low is None or rate.high is None:
        return "not decided"
    return "better" if rate.low > EVEN else "worse" if rate.high < EVEN else "not decided"
