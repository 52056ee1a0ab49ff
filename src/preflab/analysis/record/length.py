"""The record of a length-controlled win rate."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Record


class LengthControl(Record):
    """A length-controlled win rate: the win rate if both answers had the same length."""

    rate: Interval | None = None
    """The length-controlled win rate; None if there is none. `reason` then says why."""
    phi: Interval | None = None
    """The coefficient of the length. It is above 0 if the judge prefers the longer answer."""
    difference: float
    """The mean difference of the lengths: characters of the first answer minus characters of the second."""
    reason: str = ""
    """Why there is no rate."""
