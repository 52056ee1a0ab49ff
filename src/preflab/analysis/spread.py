"""Detects intervals of width 0 and writes remarks on them. Data without any spread give such an interval, although the
true value is not known exactly. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval

ROUNDING = 1e-12
"""The largest half width that rounding errors alone can cause, relative to the size of the values."""


def no_spread(values: Floats, width: float, among: str) -> str:
    """Returns a remark if the half width `width` of an interval is 0, up to rounding errors. Returns '' for any other
    interval. `values`: the numbers from which the interval was computed. `among`: what the remark calls the sampled
    items, such as "seeds"."""
    if width > ROUNDING * float(np.abs(values).max()):
        return ""
    return f"no spread between {among} was seen: the interval has no width and says nothing about other {among}"


def shows_too_little(cells: Floats, level: float) -> bool:
    """Returns True if all cells of a table [S, P] are equal and the problems are too few for an interval. `level`: the
    probability that the interval does not contain the true value.

    The criterion comes from the sign test. If the value of each problem is positive or negative with equal probability,
    all P values have the same sign with probability 2^(1-P). If this probability is above `level`, P is too small."""
    uniform = float(np.ptp(cells)) <= ROUNDING * float(np.abs(cells).max())
    return uniform and 2.0 ** (1 - cells.shape[1]) > level


def cancels(cells: Floats, variance: float) -> bool:
    """Returns True if the estimated variance of a table's mean is 0 although the cells differ. An interval of width 0
    would then be wrong. This happens if all seeds have equal means and the problem effects are smaller than the
    residuals, for example with two seeds and 0/1 scores."""
    largest = float(np.abs(cells).max())
    return float(np.ptp(cells)) > ROUNDING * largest and variance <= (ROUNDING * largest) ** 2


def spread_caveats(values: Mapping[str, Interval], headline: str) -> Iterator[str]:
    """Yields one caveat that names all arms with an interval of width 0. Yields nothing if there is no such arm.
    `values`: each arm's value of the headline measure."""
    names = [name for name, value in values.items() if value.has_no_spread]
    if names:
        yield (
            f"{', '.join(names)}: no spread between seeds or problems was seen in {headline}, so that the 95% interval has no "
            "width. It says nothing about other seeds or problems."
        )
