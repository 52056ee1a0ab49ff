"""Computes the scale of a forest plot. A forest plot is a table column with one small SVG per row (`forest.html.j2`). Each
SVG shows an estimate and its interval. All rows use the same scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from preflab.analysis.record import Interval

_LEFT, _RIGHT = 18, 202


class Scale(NamedTuple):
    """The linear scale of a forest plot, which maps values to pixels. `low`, `high`: the values at the left end and at
    the right end. `zero`: True if a line marks the value 0, which means no difference."""

    low: float
    high: float
    zero: bool

    def at(self, value: float) -> str:
        """Returns the x coordinate of a value in pixels, as a string for SVG."""
        return f"{_LEFT + (value - self.low) / (self.high - self.low) * (_RIGHT - _LEFT):.1f}"

    def ticks(self) -> list[float]:
        """Returns two to five round numbers within the scale, for tick labels."""
        rough = (self.high - self.low) / 4
        power = 10 ** math.floor(math.log10(rough))
        ticks: list[float] = []
        for size in (10, 5, 2, 1):
            step = power * size
            places = range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)
            if len(ticks) < 2 or step >= rough:
                ticks = [round(step * place, 12) for place in places]
        return ticks


def scale(
    intervals: Sequence[Interval],
    *,
    zero: bool = False,
    marks: Sequence[float] = (),
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Scale:
    """Returns a scale that includes all intervals and all `marks`, and also 0 if `zero` is True. If all these values are
    equal, the scale extends from 0.5 below this value to 0.5 above this value. Such a scale is clipped to `limits`."""
    ends = [end for item in intervals for end in (item.low, item.estimate, item.high) if end is not None]
    ends += marks
    ends += [0.0] if zero or not ends else []
    low, high = min(ends), max(ends)
    return Scale(low, high, zero) if high > low else Scale(max(low - 0.5, limits[0]), min(high + 0.5, limits[1]), zero)
