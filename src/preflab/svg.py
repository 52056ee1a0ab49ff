"""Writes a matplotlib figure as SVG text. Equal drawings give equal bytes."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG = re.compile(r"\d+\.\d{3,}")


def write_svg(figure: Figure, *, name: str) -> str:
    """Returns the figure as SVG text. `name` seeds the ids in it, so that the text depends on the drawing alone. The reader's
    own fonts draw the words; matplotlib only measures them."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of a font that matplotlib measures with
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def round_decimals(text: str) -> str:
    """Rounds the long decimals in a text to two places: nobody sees a hundredth of a point."""
    return _LONG.sub(lambda number: f"{float(number.group()):.2f}", text)
