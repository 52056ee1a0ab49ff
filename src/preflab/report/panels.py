"""Draws the common elements of all charts: the title, the axes with their numbers, and the name of each line at its right
end. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from preflab import text
from preflab.analysis.record import Measure
from preflab.report import numbers
from preflab.report.svg import GRID, INK, MUTED, arm_colour, part_name, themed

PANEL_WIDTH, PANEL_HEIGHT = 360, 280
"""The default size of a chart in CSS pixels. A chart fits on the screen of a phone, and three charts fit side by side on a
desktop screen."""
HEAD, FOOT = 46, 46
"""`HEAD`: the height in pixels above the axes, for the title and the line below the title. `FOOT`: the height in pixels
below the axes."""
SIZE = 11


class EdgeLabel(NamedTuple):
    """A label with the name of a line, at the right edge of the chart. `y`: the height of the label in data units.
    `name`: the text of the label. `order`: the index of the arm or line, which determines the colour."""

    y: float
    name: str
    order: int


@dataclass
class Panel:
    """A chart that is being drawn. `axes`: matplotlib's axes. `height`: the height of the chart in CSS pixels. `svg`: the
    finished drawing, available after the `with` block of `panel`. `notes`: the tooltips of the chart's elements."""

    axes: Any
    height: int
    svg: Markup = field(default_factory=Markup)
    notes: list[str] = field(default_factory=list[str])

    def assign(self, artist: Any, order: int, note: str = "") -> None:
        """Marks a matplotlib artist as an element of the arm with the index `order`, so that the page can hide the arm.
        `note`: the tooltip of the artist; '' for no tooltip."""
        if note:
            self.notes.append(text.one_line(note))
        artist.set_gid(part_name(order, len(self.notes) - 1 if note else None))

    def axis_numbers(self, which: Literal["x", "y"], *, share: bool) -> None:
        """Formats the tick labels of an axis. If `share` is True, the labels are percentages. If it is False, large
        numbers have decimal prefixes (16k, 2.1M)."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        def tick(value: float, _: object) -> str:
            return numbers.signed_zero(f"{100 * value:.3g}%" if share else numbers.format_scaled(round(value, 12)))

        axis = self.axes.xaxis if which == "x" else self.axes.yaxis
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(tick))

    def place_ticks(self, values: Sequence[float]) -> None:
        """Puts ticks of the x axis at exactly these values. Leaves out the label of a tick that is too close to the
        previous label."""
        from matplotlib.ticker import NullLocator

        places = sorted(set(values))
        transform = self.axes.get_xaxis().get_transform().transform
        at = [float(transform([value])[0]) for value in places]
        room, last = (at[-1] - at[0]) * 0.11, float("-inf")
        names: list[str] = []
        for place, value in zip(at, places, strict=True):
            fits = place - last >= room
            names.append(numbers.format_tick(value) if fits else "")
            last = place if fits else last
        self.axes.xaxis.set_minor_locator(NullLocator())
        self.axes.set_xticks(places, names)

    def shifted(self, points: float) -> Any:
        """Returns a matplotlib transform that maps data coordinates and then shifts them to the right by `points`
        points."""
        from matplotlib.transforms import ScaledTranslation

        return self.axes.transData + ScaledTranslation(points / 72, 0, self.axes.figure.dpi_scale_trans)

    def finish_lines(
        self, labels: Sequence[EdgeLabel], metric: Measure, *, margin: float = 0.02, are_arms: bool = True
    ) -> None:
        """Finishes a line chart: adds numbers on both axes, space around the lines, and the name of each line at its right
        end. `are_arms`: True if each line belongs to an arm, so that the page can hide the name together with the arm."""
        self.axis_numbers("x", share=False)
        self.axis_numbers("y", share=metric.share)
        self.axes.margins(x=margin, y=0.08)
        self.keep_within(metric)
        self.end_labels(labels, are_arms=are_arms)

    def keep_within(self, metric: Measure) -> None:
        """Limits the y axis to the possible values of the metric, with a small margin."""
        (low, high), (lowest, highest) = self.axes.get_ylim(), metric.range
        room = 0.04 * (high - low)
        self.axes.set_ylim(max(low, lowest - room), min(high, highest + room))

    def end_labels(self, labels: Sequence[EdgeLabel], *, are_arms: bool = False) -> None:
        """Writes the names of lines at the right edge. Moves names apart if they would overlap."""
        low, high = self.axes.get_ylim()
        heights = [(label.y - low) / (high - low) for label in labels]
        places = spread_apart(heights, gap=SIZE * 1.15 / (self.height - HEAD - FOOT))
        for label, place in zip(labels, places, strict=True):
            name = self.axes.annotate(
                shortened(label.name, 13), (1.0, place), xycoords="axes fraction", xytext=(7, 0),
                textcoords="offset points", va="center", color=arm_colour(label.order), fontsize=SIZE,
                fontweight="bold", annotation_clip=False,
            )  # fmt: skip
            if are_arms:
                self.assign(name, label.order)


def spread_apart(places: Sequence[float], *, gap: float) -> list[float]:
    """Moves the heights of labels so that the labels do not overlap. Returns `places` (heights in [0, 1]), moved until
    neighbours are about `gap` apart. Two places that are too close are both moved by half of the missing distance. The
    order of the places does not change."""
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    moved = list(places)
    for _ in range(50):
        for lower, upper in pairwise(order):
            overlap = gap - (moved[upper] - moved[lower])
            if overlap > 1e-9:
                moved[lower] -= overlap / 2
                moved[upper] += overlap / 2
    return moved


def shortened(name: str, size: int) -> str:
    """Shortens a name to at most `size` characters. Replaces the middle by '…' and keeps the end, because the names of
    arms often differ only at the end."""
    name = text.one_line(name)
    kept = size // 2
    return name if len(name) <= size else f"{name[:kept]}…{name[kept + 1 - size :]}"


@contextmanager
def panel(
    *,
    name: str,
    title: str,
    measured: str,
    x: str,
    alt: str,
    left: float = 0.13,
    right: float = 0.73,
    width: int = PANEL_WIDTH,
    height: int = PANEL_HEIGHT,
) -> Generator[Panel]:
    """Opens a chart for drawing. `title`: the text at the top, which names the quantity on the y axis. `measured`: the
    line below the title, which names the data and the temperature of the measurement. `x`: the label of the x axis.
    `alt`: the alternative text for screen readers. `left`, `right`: the left and right ends of the axes, as fractions of
    the width. The names of lines are written to the right of the axes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": SIZE, "text.parse_math": False, "axes.axisbelow": True}):
        figure = Figure(figsize=(width / 72, height / 72))
        axes = figure.add_axes((left, FOOT / height, right - left, 1 - (HEAD + FOOT) / height))
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.tick_params(colors=MUTED, length=0, labelsize=SIZE - 0.5)
        axes.tick_params(axis="x", length=3)
        axes.set_xlabel(text.one_line(x), color=MUTED, fontsize=SIZE, loc="left")
        edge = 2 / width
        figure.text(edge, 1 - 14 / height, text.one_line(title), color=INK, fontsize=SIZE + 1.5, fontweight="bold")
        figure.text(edge, 1 - 30 / height, text.one_line(measured), color=MUTED, fontsize=SIZE - 0.5)
        drawn = Panel(axes, height)
        yield drawn
        drawn.svg = themed(figure, name=name, label=text.one_line(alt), notes=drawn.notes)
