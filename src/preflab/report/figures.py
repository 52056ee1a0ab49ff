"""Draws the figures of the final measurements: a sweep over a factor, and a bar chart for each difficulty level. Needs
matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from preflab.analysis.record import Interval, Measure, Results
from preflab.report import metrics, numbers, verdicts
from preflab.report.marks import arm_mark
from preflab.report.panels import FOOT, HEAD, SIZE, EdgeLabel, Panel, panel, shortened
from preflab.report.svg import INK, MUTED, arm_colour


def sweep(results: Results) -> Markup | None:
    """Draws the headline metric against the factor that the study varies. The chart has one line for each series of the
    sweep, with a 95% interval at each point. Returns None if the study varies no factor."""
    factor = results.sweep
    if factor is None:
        return None
    metric, arms = metrics.find_metric(results, results.headline), {arm.name: arm for arm in results.arms}
    alt = f"{metric.label} against {factor.label}, with 95% intervals: a line for each of {len(factor.series)} series."
    with panel(
        name="sweep",
        title=metric.label,
        measured=f"test problems, {verdicts.name_decoding(results, 'chosen')}",
        x=factor.label,
        alt=alt,
    ) as drawn:
        labels: list[EdgeLabel] = []
        if factor.log:
            drawn.axes.set_xscale("log")
        for order, (name, line) in enumerate(factor.series.items()):
            values = [
                Interval() if arm is None else metrics.find_reported_value(arms[arm], metric.name) for arm in line
            ]
            # Colour 0 is the grey of baselines, so the colours of the lines begin at 1 (`order + 1`). Each line is
            # shifted slightly, so that intervals at the same x do not overlap.
            shift = 5.0 * (order - (len(factor.series) - 1) / 2)
            end = _draw_sweep(drawn, factor.x, values, order + 1, shift)
            labels += [] if end is None else [EdgeLabel(end, name, order + 1)]
        drawn.axes.margins(x=0.06, y=0.08)
        drawn.axes.autoscale_view()
        drawn.place_ticks(factor.x)
        drawn.axis_numbers("y", share=metric.share)
        drawn.keep_within(metric)
        drawn.end_labels(labels)
    return drawn.svg


def _draw_sweep(drawn: Panel, x: Sequence[float], values: Sequence[Interval], order: int, shift: float) -> float | None:
    """Draws one line of the sweep with its intervals, shifted horizontally by `shift` points. `order`: the index of the
    colour and the marker. Returns the last estimate of the line, or None if the line has no estimate."""
    moved, colour = drawn.shifted(shift), arm_colour(order)
    places = [(at, item) for at, item in zip(x, values, strict=True) if item.estimate is not None]
    for at, item in places:
        # matplotlib ignores shifted marks when it computes the limits of the axes, so the limits are updated explicitly.
        ends = [end for end in (item.low, item.estimate, item.high) if end is not None]
        drawn.axes.update_datalim([(at, end) for end in ends])
        if item.low is not None and item.high is not None:
            drawn.axes.plot([at, at], [item.low, item.high], color=colour, linewidth=1.4, alpha=0.6, transform=moved)
    estimates = [item.estimate or 0.0 for _, item in places]
    drawn.axes.plot(
        [at for at, _ in places], estimates, color=colour, linewidth=2.2, marker=arm_mark(order).marker,
        markersize=6, transform=moved,
    )  # fmt: skip
    return estimates[-1] if estimates else None


def levels(results: Results) -> list[Markup]:
    """Draws one chart of the headline metric for each difficulty level. Each arm has a bar with an interval."""
    metric, arms = metrics.find_metric(results, results.headline), metrics.rank_arms(results)
    rows = {level: [metrics.find_value(arm, metric.name, level=level) for arm in arms] for level in results.levels}
    rows = {level: row for level, row in rows.items() if any(item.estimate is not None for item in row)}
    items = [item for row in rows.values() for item in row]
    ends = [end for item in items for end in (item.low, item.estimate, item.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends]) or 1.0
    drawn: list[Markup] = []
    for order, (level, row) in enumerate(rows.items()):
        alt = f"{metric.label} on level {level}: a bar with its interval for each arm."
        name, height = f"level{order}", HEAD + FOOT + 8 + 22 * len(row)
        count = max(item.problems for item in row)
        measured = f"{f'{count} ' if count else ''}test problems, {verdicts.name_decoding(results, 'chosen')}"
        with panel(
            name=name, title=level, measured=measured, x=metric.label, alt=alt, left=0.26, right=0.97, height=height
        ) as chart:
            chart.axes.grid(visible=False, axis="y")
            chart.axes.set_xlim(low, high + 0.18 * (high - low))  # the same scale for all levels
            chart.axes.set_ylim(len(row) - 0.5, -0.5)
            chart.axis_numbers("x", share=metric.share)
            chart.axes.set_yticks(range(len(row)), [shortened(arm.name, 13) for arm in arms])
            for place, item in enumerate(row):
                chart.axes.get_yticklabels()[place].set_color(INK)
                if item.estimate is not None:
                    _draw_bar(chart, place, metric, item, colour=arm_colour(results.arms.index(arms[place])))
        drawn.append(chart.svg)
    return drawn


def _draw_bar(drawn: Panel, place: int, metric: Measure, item: Interval, *, colour: str) -> None:
    estimate = item.estimate or 0.0
    drawn.axes.barh(place, estimate, height=0.62, color=colour, alpha=0.85, linewidth=0)
    end = estimate
    if item.low is not None and item.high is not None:
        drawn.axes.plot([item.low, item.high], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
        end = max(end, item.high)
    drawn.axes.annotate(
        numbers.format_quantity(metric, item.estimate), (end, place), xytext=(4, 0), textcoords="offset points",
        va="center", color=MUTED, fontsize=SIZE - 1,
    )  # fmt: skip
