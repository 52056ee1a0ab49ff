"""The record of a length-controlled win rate."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Record


class LengthControl(Record):
    """A length-controlled win rate: an estimate of the win rate if both answers had the same length."""

    rate: Interval | None = None
    """The length-controlled win rate; None if it could not be computed."""
    phi: Interval | None = None
    """The coefficient of the length difference. A value above 0 means that the judge prefers longer answers. None if the
    win rate could not be computed."""
    difference: float
    """The mean length difference: the number of characters of the first answer minus that of the second answer."""
    reason: str = ""
    """The reason why `rate` is None; '' if there is a rate."""
