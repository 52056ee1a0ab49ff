"""The record of a length-controlled win rate."""

from __future__ import annotations

from preflab.analysis.record.base import Interval, Record


class LengthControl(Record):
    """A length-controlled win rate: an estimate of the win rate if both answers had the same length."""

    rate: Interval | None = None
    """The length-controlled win rate; None if it could not be computed, for the cause in `reason`."""
    phi: Interval | None = None
    """The coefficient of the length difference. A value above 0 means that the judge prefers longer answers."""
    difference: float
    """The mean length difference: characters of the first answer minus characters of the second answer."""
    reason: str = ""
    """The reason why `rate` is None; '' if there is a rate."""
