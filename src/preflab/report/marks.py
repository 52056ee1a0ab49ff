"""Gives each arm a mark (a shape such as a circle or a square) in addition to its colour, for readers who cannot
distinguish colours. An arm has the same mark in all figures, tables and legends."""

from __future__ import annotations

from typing import NamedTuple

from preflab.report.svg import COLOURS


class Mark(NamedTuple):
    """The shape of a mark. `marker`: matplotlib's name of the shape. `outline`: the SVG path of the shape in a box of 12
    by 12 units."""

    marker: str
    outline: str


MARKS = (
    Mark("o", "M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z"),
    Mark("s", "M1.5 1.5h9v9h-9z"),
    Mark("D", "M6 .5 11.5 6 6 11.5.5 6z"),
    Mark("^", "M6 1 11.5 11H.5z"),
    Mark("v", "M.5 1h11L6 11z"),
    Mark("P", "M4 1h4v3h3v4H8v3H4V8H1V4h3z"),
    Mark("X", "M3.2.8 6 3.6 8.8.8 11.2 3.2 8.4 6l2.8 2.8-2.4 2.4L6 8.4l-2.8 2.8L.8 8.8 3.6 6 .8 3.2z"),
    Mark("*", "M6 .3 7.5 4.3 11.8 4.5 8.4 7.2 9.6 11.4 6 9 2.4 11.4 3.6 7.2.2 4.5 4.5 4.3z"),
)


def arm_mark(index: int) -> Mark:
    """Returns the mark of the arm at `index`. If there are more arms than colours, some arms have the same colour. Arms
    with the same colour get different marks."""
    return MARKS[(index + index // COLOURS) % len(MARKS)]
