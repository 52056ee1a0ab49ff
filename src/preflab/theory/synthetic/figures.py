"""Draws the figures of the scenario: the heat maps of Figure 1, the mass that each method moves to uncovered responses,
and the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter

from preflab.theory.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, PALE, WHITE, svg_text
from preflab.theory.synthetic.experiment import EXACT
from preflab.theory.synthetic.measures import Numbers, SeedInterval, seed_interval
from preflab.theory.synthetic.sweep import SWEEP_BETAS, SWEEP_COVERAGES, SweepPoint

_COLOURS = {"DPO": BLUE, "PPO": ORANGE, EXACT: GREEN}
_STYLE: dict[Any, Any] = {
    "axes.facecolor": WHITE, "text.color": BLACK, "axes.labelcolor": GREY,
    "font.size": 10, "axes.titlesize": 11, "text.parse_math": False,
}  # fmt: skip
SweepMeasure = Callable[[SweepPoint], SeedInterval]
_CORNER = [(0, 0), (-1, 0), (0, -1)]
_SHARES = LinearSegmentedColormap.from_list("shares", [WHITE, "#bcdcfb", BLUE, "#0a3a6b"])
_REWARDS = LinearSegmentedColormap.from_list("rewards", [ORANGE, "#f0d9bb", WHITE, "#bfe0cc", GREEN])


def draw_heat_maps(covered: Numbers, appearances: Numbers, reward: Numbers, policies: Mapping[str, Numbers]) -> str:
    """Draws the coverage, the learned reward and the policies of one seed as heat maps, and returns them as SVG. All
    arrays are [X,Y]. A coloured corner marks an uncovered response."""
    with rc_context(_STYLE):
        drawing = Drawing(figsize=(9.6, 6.7))
        grid = drawing.subplots(2, 3).flatten()
        drawing.subplots_adjust(left=0.05, right=0.99, top=0.93, bottom=0.09, wspace=0.14, hspace=0.3)
        most, size = float(appearances.max()), float(np.abs(reward).max()) or 1.0
        panels = [
            ("Pairs that hold the response", appearances, appearances / most, _SHARES, "{:.0f}"),
            ("Learned reward", reward, (reward / size + 1) / 2, _REWARDS, "{:.1f}"),
            *((name, policy, policy, _SHARES, "{:.2f}") for name, policy in policies.items()),
        ]
        for axes, panel in zip(grid, panels, strict=True):
            _draw_cells(axes, covered, *panel)
        for axes in grid[3:]:
            axes.set_xlabel("response")
        for axes in grid[::3]:
            axes.set_ylabel("prompt")
        return svg_text(drawing, name="synthetic-heat-maps")


def _draw_cells(
    axes: Any, covered: Numbers, title: str, numbers: Numbers, shade: Numbers, colours: Any, form: str
) -> None:
    """Draws one heat map of [X,Y] cells. `shade`: the values in [0, 1] that determine the colours. `numbers`: the
    values to write into the cells in the format `form`. Zeros are not written."""
    axes.pcolormesh(shade, cmap=colours, vmin=0, vmax=1, edgecolors=PALE, linewidth=0.6)
    for (x, y), value in np.ndenumerate(numbers):
        text = form.format(value).replace("0.", ".").replace("-", "−")
        if text.strip("−.0"):
            red, green, blue, _ = colours(shade[x, y])
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.55
            axes.text(y + 0.5, x + 0.52, text, ha="center", va="center", fontsize=8, color=WHITE if dark else BLACK)
    rows, columns = np.nonzero(np.logical_not(covered))
    corner = {"marker": _CORNER, "markersize": 14, "markeredgewidth": 0, "color": ORANGE}
    axes.plot(columns + 0.97, rows + 0.03, linestyle="none", **corner)
    axes.set_title(title, loc="left", color=BLACK, fontweight="bold")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xticks(np.arange(8) + 0.5, range(1, 9))
    axes.set_yticks(np.arange(8) + 0.5, range(1, 9))
    axes.tick_params(length=0, colors=GREY, labelsize=8.5)
    axes.spines[:].set_visible(False)


def draw_forest(leaks: Mapping[str, Numbers], rises: Mapping[str, Numbers], margins: tuple[float, float]) -> str:
    """Draws the change of the uncovered mass and the largest single rise of every method. Shows the mean and the
    interval over seeds. Returns the figure as SVG."""
    with rc_context(_STYLE):
        drawing = Drawing(figsize=(9.6, 3.6))
        left, right = drawing.subplots(1, 2, sharey=True)
        drawing.subplots_adjust(left=0.115, right=0.985, top=0.88, bottom=0.15, wspace=0.06)
        labels = ("change of their mass, percentage points", "its rise, percentage points")
        _draw_seeds(left, leaks, margins[0], "All uncovered responses together", labels[0])
        _draw_seeds(right, rises, margins[1], "The uncovered response that rose most", labels[1])
        left.set_yticks(range(len(leaks)), leaks)
        left.invert_yaxis()
        return svg_text(drawing, name="synthetic-leak")


def _draw_seeds(axes: Any, values: Mapping[str, Numbers], margin: float, title: str, label: str) -> None:
    axes.axvspan(-margin, margin, color=PALE, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    for row, (name, each) in enumerate(values.items()):
        colour, interval = _COLOURS.get(name, GREY), seed_interval(each)
        axes.plot(each, np.full(len(each), row), "o", color=colour, markersize=3, alpha=0.25, markeredgewidth=0)
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=3.2, solid_capstyle="butt")
        axes.plot(interval.mean, row, "o", color=colour, markersize=7.5, markeredgecolor=WHITE)
    axes.set_title(title, loc="left", color=BLACK, fontweight="bold")
    axes.set_xlabel(label)
    _style_axes(axes)


def draw_panels(points: Sequence[SweepPoint], measure: SweepMeasure, margin: float, label: str, *, name: str) -> str:
    """Draws a measure with its intervals against training length, with one panel for each coverage and beta. Returns
    the figure as SVG. `measure`: a function that returns the interval of the measure at a `SweepPoint`."""
    with rc_context(_STYLE):
        drawing = Drawing(figsize=(9.6, 6.6))
        grid = drawing.subplots(len(SWEEP_COVERAGES), len(SWEEP_BETAS), sharex=True, sharey=True)
        drawing.subplots_adjust(left=0.085, right=0.985, top=0.87, bottom=0.085, wspace=0.08, hspace=0.12)
        for axes, place in zip(grid.flat, product(SWEEP_COVERAGES, SWEEP_BETAS), strict=True):
            _draw_curves(axes, [point for point in points if (point.coverage, point.beta) == place], measure, margin)
            axes.spines["bottom"].set_visible(place[0] == SWEEP_COVERAGES[-1])
        for axes, beta in zip(grid[0], SWEEP_BETAS, strict=True):
            axes.set_title(f"β = {beta:g}", color=BLACK, fontweight="bold")
        for axes, coverage in zip(grid[:, 0], SWEEP_COVERAGES, strict=True):
            axes.set_ylabel(f"{8 * coverage:.0f} of 8 covered", color=BLACK)
        drawing.supxlabel("optimizer steps", x=0.985, ha="right", color=GREY, fontsize=10)
        drawing.text(0.012, 0.955, f"{label}, percentage points", fontsize=11, fontweight="bold", color=BLACK)
        handles = grid[0, 0].get_lines()[1:]
        drawing.legend(handles, [*_COLOURS], loc="upper right", ncols=3, frameon=False, bbox_to_anchor=(0.99, 1.0))
        return svg_text(drawing, name=name)


def _draw_curves(axes: Any, points: Sequence[SweepPoint], measure: SweepMeasure, margin: float) -> None:
    axes.axhspan(-margin, margin, color=PALE, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    for method, colour in _COLOURS.items():
        own = [point for point in points if point.method == method]
        steps = [point.steps for point in own]
        means, lows, highs = zip(*map(measure, own), strict=True)
        axes.fill_between(steps, lows, highs, color=colour, alpha=0.18, linewidth=0)
        axes.plot(steps, means, color=colour, linewidth=1.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    _style_axes(axes)


def _style_axes(axes: Any) -> None:
    def in_points(value: float, _: object) -> str:
        return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0")

    axes.tick_params(length=0, colors=GREY)
    measured = axes.xaxis if axes.get_xscale() == "linear" else axes.yaxis
    measured.set_major_formatter(FuncFormatter(in_points))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
