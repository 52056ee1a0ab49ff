"""Converts a matplotlib figure to SVG text. The same drawing always gives the same text."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG = re.compile(r"\d+\.\d{3,}")


def write_svg(figure: Figure, *, name: str) -> str:
    """Returns the figure as SVG text. `name`: the salt of the ids in the SVG. With a fixed salt, the same drawing gives
    the same text. The program that shows the SVG draws the words with its own fonts. matplotlib's fonts are used only
    to measure the words."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        # matplotlib's fonts can lack glyphs. This does not matter, because the SVG is drawn with other fonts.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def round_decimals(text: str) -> str:
    """Rounds every number in an SVG text to at most two decimal places. A hundredth of a point is too small to see."""
    return _LONG.sub(lambda number: f"{float(number.group()):.2f}", text)
