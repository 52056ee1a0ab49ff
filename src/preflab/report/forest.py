"""A forest plot as a table column: one small SVG a row, all on one scale. Plain geometry, no drawing library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from preflab.analysis.record import Interval, Measure
from preflab.report import numbers

_WIDTH, _HEIGHT, _MARGIN = 220, 22, 18


class Scale(NamedTuple):
    """From data to pixels; `zero` draws a line at no difference."""

    low: float
    high: float
    zero: bool

    def at(self, value: float) -> float:
        return _MARGIN + (value - self.low) / (self.high - self.low) * (_WIDTH - 2 * _MARGIN)


def scale(intervals: Sequence[Interval], *, zero: bool = False, marks: Sequence[float] = ()) -> Scale:
    """The scale that holds all intervals and marks, and zero where asked."""
    ends = [end for item in intervals for end in (item.low, item.estimate, item.high) if end is not None]
    ends += marks
    ends += [0.0] if zero or not ends else []
    low, high = min(ends), max(ends)
    return Scale(low, high, zero) if high > low else Scale(low - 0.5, high + 0.5, zero)


def row(
    scale: Scale, interval: Interval, *, colour: str, beside: Interval | None = None, mark: float | None = None
) -> Markup:
    """One row: a dot with its interval; `beside`, the value at temperature 1, hollow; a dashed line at `mark`. `colour`: a
    CSS class."""
    middle = _HEIGHT // 2
    parts = [f'<svg class="forest" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">']
    parts += [_line(_MARGIN, _WIDTH - _MARGIN, middle, "s-grid", 1)]
    if scale.zero:
        parts += [f'<line x1="{scale.at(0):.1f}" x2="{scale.at(0):.1f}" y1="0" y2="{_HEIGHT}" class="s-muted"/>']
    if mark is not None:
        place = f"{scale.at(mark):.1f}"
        parts += [f'<line x1="{place}" x2="{place}" y1="0" y2="{_HEIGHT}" class="s-ink" stroke-dasharray="3 3"/>']
    if interval.low is not None and interval.high is not None:
        parts += [_line(scale.at(interval.low), scale.at(interval.high), middle, f"s-{colour}", 3)]
    if beside is not None and beside.estimate is not None:
        parts += [_dot(scale.at(beside.estimate), middle, 3.5, f"f-paper s-{colour} hollow")]
    if interval.estimate is not None:
        parts += [_dot(scale.at(interval.estimate), middle, 4.5, f"f-{colour}")]
    return Markup("".join([*parts, "</svg>"]))


def axis(scale: Scale, metric: Measure) -> Markup:
    """The scale's numbers, as the head of the column."""
    parts = [f'<svg class="forest" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">']
    for value in _ticks(scale):
        place = f"{scale.at(value):.1f}"
        name = numbers.format_tick(100 * value if metric.share else value, sign=scale.zero)
        name += "%" if metric.share and not scale.zero else ""
        parts += [f'<text x="{place}" y="13" text-anchor="middle" font-size="11" class="f-muted">{name}</text>']
        parts += [f'<line x1="{place}" x2="{place}" y1="18" y2="{_HEIGHT}" class="s-muted"/>']
    return Markup("".join([*parts, "</svg>"]))


def _ticks(scale: Scale) -> list[float]:
    """Two to five round numbers within the scale."""
    rough = (scale.high - scale.low) / 4
    power = 10 ** math.floor(math.log10(rough))
    ticks: list[float] = []
    for size in (10, 5, 2, 1):
        step = power * size
        places = range(math.ceil(scale.low / step), math.floor(scale.high / step + 1e-9) + 1)
        if len(ticks) < 2 or step >= rough:
            ticks = [round(step * place, 12) for place in places]
    return ticks


def _dot(x: float, y: float, radius: float, css: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="{radius}" class="{css}"/>'


def _line(start: float, end: float, y: float, css: str, width: int) -> str:
    return f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}" class="{css}" stroke-width="{width}"/>'
