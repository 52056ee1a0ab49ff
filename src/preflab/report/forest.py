"""The scale of a forest plot, which is a table column: one small SVG a row (`forest.html.j2`), all on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from preflab.analysis.record import Interval

_LEFT, _RIGHT = 18, 202


class Scale(NamedTuple):
    """From data to pixels; `zero` draws a line at no difference."""

    low: float
    high: float
    zero: bool

    def at(self, value: float) -> str:
        """The place of a value, as SVG takes it."""
        return f"{_LEFT + (value - self.low) / (self.high - self.low) * (_RIGHT - _LEFT):.1f}"

    def ticks(self) -> list[float]:
        """Two to five round numbers within the scale."""
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
    """The scale that holds all intervals and marks, and zero where asked; where all are one value, what lies around it within
    the limits."""
    ends = [end for item in intervals for end in (item.low, item.estimate, item.high) if end is not None]
    ends += marks
    ends += [0.0] if zero or not ends else []
    low, high = min(ends), max(ends)
    return Scale(low, high, zero) if high > low else Scale(max(low - 0.5, limits[0]), min(high + 0.5, limits[1]), zero)
