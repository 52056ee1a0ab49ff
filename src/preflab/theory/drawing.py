"""Draws the figures of `preflab theory` as SVG text. The same numbers give the same bytes."""

from __future__ import annotations

import re
from typing import Any

from matplotlib.figure import Figure

from preflab.svg import round_decimals, write_svg

BLACK, GREY, PALE, WHITE = "#1c1d20", "#5f636b", "#e6e7e3", "#fdfdfc"
"""The colours of the report's light style. Each figure draws a light background."""
BLUE, ORANGE, GREEN = "#1b86f2", "#b6680f", "#2f7d4f"
_TAG, _FONTS = re.compile(r"<[^>]*>"), re.compile(r"font-family: [^;\"]*")


def make_axes(label: str, *, width: float = 5.6, height: float = 3.9) -> tuple[Figure, Any]:
    """Returns a matplotlib figure and its axes. Only the left and the lower side of the frame are drawn. `label`: the
    label of the y axis."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY)
    axes.grid(color=PALE, linewidth=0.7)
    axes.set(facecolor=WHITE, axisbelow=True)
    axes.set_ylabel(label, color=BLACK)
    axes.xaxis.label.set_color(BLACK)
    return figure, axes


def svg_text(figure: Figure, *, name: str) -> str:
    """Returns a matplotlib figure as SVG text.

    `name`: the salt from which matplotlib computes the ids in the SVG. With a fixed salt, the same drawing gives the
    same text.
    """
    figure.patch.set_facecolor(WHITE)
    # Long decimals and lists of fonts would fill half of the file, so `_short` shortens them.
    text = _TAG.sub(lambda tag: _short(tag.group()), write_svg(figure, name=name))
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


def _short(tag: str) -> str:
    return _FONTS.sub("font-family: 'DejaVu Sans', sans-serif", round_decimals(tag))
