"""Writes remarks on intervals that have no width because no spread was seen. Such an interval does not mean that the
value is certain. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval

ROUNDING = 1e-12
"""The largest half width, relative to the numbers themselves, that rounding alone can cause."""


def no_spread(values: Floats, width: float, among: str) -> str:
    """Returns the remark on an interval whose half width is 0, up to rounding; '' for any other interval. `values`: the
    numbers from which the interval was computed. `among`: what they were drawn from, such as "seeds"."""
    if width > ROUNDING * float(np.abs(values).max()):
        return ""
    return f"no spread between {among} was seen: the interval has no width and says nothing about other {among}"


def shows_too_little(cells: Floats, level: float) -> bool:
    """Checks whether a table [S, P] has no spread and too few problems for an interval at this level.

    Suppose that the value of each problem is positive or negative with equal chance. Then the values of all P problems
    have the same sign with probability 2^(1-P), as in the sign test. If this probability is above `level`, the problems
    are too few."""
    uniform = float(np.ptp(cells)) <= ROUNDING * float(np.abs(cells).max())
    return uniform and 2.0 ** (1 - cells.shape[1]) > level


def cancels(cells: Floats, variance: float) -> bool:
    """Checks whether the estimated variance of a table's mean is 0 although its cells differ. This happens if the seeds have
    equal means and the problems differ less than the residuals, such as with two seeds and 0/1 scores. An interval without
    width would then be false."""
    largest = float(np.abs(cells).max())
    return float(np.ptp(cells)) > ROUNDING * largest and variance <= (ROUNDING * largest) ** 2


def spread_caveats(values: Mapping[str, Interval], headline: str) -> Iterator[str]:
    """Yields a sentence that names the arms whose intervals have no width. `values`: the arms' values of the
    headline."""
    names = [name for name, value in values.items() if value.has_no_spread]
    if names:
        yield (
            f"{', '.join(names)}: no spread between seeds or problems was seen in {headline}, so that the 95% interval has no "
            "width. It says nothing about other seeds or problems."
        )
