"""Writes a matplotlib figure as SVG text. The same drawing always gives the same text."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG = re.compile(r"\d+\.\d{3,}")


def write_svg(figure: Figure, *, name: str) -> str:
    """Returns the figure as SVG text. `name` is the salt of the ids in the SVG, so that the same drawing gives the same
    text. The fonts of the reader's program draw the words; matplotlib uses its own fonts only to measure them."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the fonts of matplotlib may lack glyphs
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def round_decimals(text: str) -> str:
    """Rounds numbers in a text to two decimal places if they have more. Nobody sees a hundredth of a point."""
    return _LONG.sub(lambda number: f"{float(number.group()):.2f}", text)
