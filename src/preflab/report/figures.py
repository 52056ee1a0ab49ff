"""The report's figures: training curves, the reward-KL frontier, a sweep, and bars for each level. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from markupsafe import Markup

from preflab.analysis.record import ArmResult, CurvePoint, FrontierPoint, Interval, Measure, Number, Results
from preflab.report import numbers, views
from preflab.report.panels import SIZE, Label, Panel, panel, shortened
from preflab.report.svg import COLOURS, INK, MUTED, SURFACE, arm_colour
from preflab.types import VERDICT

MARKERS = "osD^vPX*"
Places = Sequence[tuple[int, float, float]]
"""(step, x, y) in the order of the steps."""


class Line(NamedTuple):
    """One seed's curve, and whether it ended in divergence."""

    places: Places
    diverged: bool


class Against(NamedTuple):
    """An x axis of the training curves."""

    label: str
    get: Callable[[CurvePoint], Number]


AGAINST = (
    Against("optimizer steps", lambda point: point.step),
    Against("labels and reward calls", lambda point: point.labels),
    Against("FLOP, shared stages included", lambda point: point.flops),
)


def curves(results: Results) -> list[Markup]:
    """Every curve's metric against steps; the first also against both budgets."""
    points = (point for arm in results.arms for run in arm.runs for point in run.curve)
    names = dict.fromkeys(name for point in points for name in point.metrics if not name.startswith(VERDICT))
    drawn: list[Markup] = []
    for order, name in enumerate(names):
        metric = views.measure_of(results, name)
        for against in AGAINST if order == 0 else AGAINST[:1]:
            svg = _curve(results, metric, against, f"curve{len(drawn)}")
            drawn += [svg] if svg else []
    return drawn


def _curve(results: Results, metric: Measure, against: Against, name: str) -> Markup | None:
    series = [(index, arm, _lines(arm, metric.name, against)) for index, arm in enumerate(results.arms)]
    series = [(index, arm, lines) for index, arm, lines in series if lines]
    if not series:
        return None
    label = metric.label
    alt = f"{label} against {against.label}: a thin line for each seed, a thick one for their mean, for each arm."
    with panel(name=name, title=label, x=against.label, alt=alt) as drawn:
        drawn.finish_lines([_draw_lines(drawn, *row) for row in series], share=metric.share)
    return drawn.svg


def _lines(arm: ArmResult, metric: str, against: Against) -> list[Line]:
    """For each seed that has them: (step, x, y) along the curve."""
    lines: list[Line] = []
    for run in arm.runs:
        points = [(point.step, against.get(point), point.metrics.get(metric)) for point in run.curve]
        places = [(step, x, y) for step, x, y in points if x is not None and y is not None]
        lines += [Line(places, run.diverged)] if places else []
    return lines


def _draw_lines(drawn: Panel, index: int, arm: ArmResult, lines: Sequence[Line]) -> Label:
    """Seeds thin, their mean thick; returns the label that belongs at the mean's end."""
    style = {"color": arm_colour(index), "linestyle": "-" if index < COLOURS else "--"}
    for line in lines:
        _, x, y = zip(*line.places, strict=True)
        drawn.axes.plot(x, y, linewidth=0.9, alpha=0.4, **style)
        if line.diverged:
            drawn.axes.plot(x[-1], y[-1], marker="x", markersize=8, markeredgewidth=2, **style)
    return Label(_draw_mean(drawn, [line.places for line in lines], linewidth=2.2, **style), arm.name, index)


def _draw_mean(drawn: Panel, lines: Sequence[Places], linewidth: float, **style: str) -> float:
    """Draws the mean of lines with a mark at its end, which is seen where it is alone; returns the end's height."""
    mean = _mean_line(lines)
    drawn.axes.plot(*zip(*mean, strict=True), linewidth=linewidth, **style)
    drawn.axes.plot(*mean[-1], marker="o", markersize=4.5, **style)
    return mean[-1][1]


def _mean_line(lines: Sequence[Places]) -> list[tuple[float, float]]:
    """Mean x and y over seeds at the steps that all seeds reached (at those of the longest where none is common)."""
    by_step = [{step: (x, y) for step, x, y in line} for line in lines]
    common = set(by_step[0]).intersection(*by_step[1:])
    if not common:
        return [(x, y) for _, x, y in max(lines, key=len)]
    return [(fmean(at[step][0] for at in by_step), fmean(at[step][1] for at in by_step)) for step in sorted(common)]


def verdicts(results: Results) -> list[Markup]:
    """For each arm that was rewarded by tests: the share of each verdict at each step, the mean over its seeds."""
    drawn: list[Markup] = []
    for arm in results.arms:
        points = [point for run in arm.runs for point in run.curve]
        names = sorted({name for point in points for name in point.metrics if name.startswith(VERDICT)})
        if names:
            drawn.append(_verdicts(arm, names, f"verdicts{len(drawn)}"))
    return drawn


def _verdicts(arm: ArmResult, names: Sequence[str], name: str) -> Markup:
    alt = f"Shares of the judge's verdicts on {arm.name}'s samples, against steps."
    judged = [[point for point in run.curve if not point.metrics.keys().isdisjoint(names)] for run in arm.runs]
    with panel(name=name, title=arm.name, x="optimizer steps", alt=alt) as drawn:
        labels: list[Label] = []
        for order, verdict in enumerate(names):
            lines = [
                [(point.step, float(point.step), point.metrics.get(verdict) or 0.0) for point in points]
                for points in filter(None, judged)
            ]
            end = _draw_mean(drawn, lines, linewidth=2, color=arm_colour(order))
            labels.append(Label(end, verdict.removeprefix(VERDICT), order))
        drawn.finish_lines(labels, share=True)
    return drawn.svg


def draw_frontier(results: Results) -> Markup | None:
    """Score against KL for every checkpoint of every seed; hollow where the KL is an upper bound."""
    if not any(run.frontier for arm in results.arms for run in arm.runs):
        return None
    metric = views.measure_of(results, "score")
    alt = f"{metric.label} against KL to the SFT model at every checkpoint; up and to the left is better."
    with panel(name="frontier", title=metric.label, x="KL to the SFT model, nats per response", alt=alt) as drawn:
        labels: list[Label] = []
        for index, arm in enumerate(results.arms):
            ends = [end for run in arm.runs if (end := _draw_path(drawn, index, run.frontier)) is not None]
            labels += [Label(fmean(ends), arm.name, index)] if ends else []
        drawn.finish_lines(labels, share=metric.share, margin=0.04)
    return drawn.svg


def _draw_path(drawn: Panel, index: int, points: Sequence[FrontierPoint]) -> float | None:
    """The path of one seed through its checkpoints, the last one large; returns the last score."""
    path = [(at.kl, at.score, at.bound) for at in points if at.kl is not None and at.score is not None]
    if not path:
        return None
    colour, marker = arm_colour(index), MARKERS[index % len(MARKERS)]
    drawn.axes.plot([kl for kl, _, _ in path], [score for _, score, _ in path], color=colour, linewidth=0.9, alpha=0.5)
    for order, (kl, score, bound) in enumerate(path, start=1):
        last = order == len(path)
        drawn.axes.plot(
            kl, score, marker=marker, markersize=7 if last else 4, color=colour, alpha=1.0 if last else 0.6,
            markerfacecolor=SURFACE if bound else colour, markeredgewidth=1.4 if bound else 0, linestyle="none",
        )  # fmt: skip
    return path[-1][1]


def sweep(results: Results) -> Markup | None:
    """The headline metric against the factor that the study varies: a line with 95% intervals for each series."""
    factor = results.sweep
    if factor is None:
        return None
    metric, arms = views.measure_of(results, results.headline), {arm.name: arm for arm in results.arms}
    alt = f"{metric.label} against {factor.label}, with 95% intervals: a line for each of {len(factor.series)} series."
    with panel(name="sweep", title=metric.label, x=factor.label, alt=alt) as drawn:
        labels: list[Label] = []
        if factor.log:
            drawn.axes.set_xscale("log")
        for order, (name, line) in enumerate(factor.series.items()):
            values = [Interval() if arm is None else views.reported_value(arms[arm], metric.name) for arm in line]
            # Colour 0 is the baseline's grey; lines stand a little apart so that intervals at one x are told apart.
            shift = 5.0 * (order - (len(factor.series) - 1) / 2)
            end = _draw_sweep(drawn, factor.x, values, order + 1, shift)
            labels += [] if end is None else [Label(end, name, order + 1)]
        drawn.axes.margins(x=0.06, y=0.08)
        drawn.axes.autoscale_view()
        drawn.ticks_at(factor.x)
        drawn.axis_numbers("y", share=metric.share)
        drawn.end_labels(labels)
    return drawn.svg


def _draw_sweep(drawn: Panel, x: Sequence[float], values: Sequence[Interval], order: int, shift: float) -> float | None:
    """One series, moved `shift` points to the side; returns its last estimate."""
    moved, colour = drawn.shifted(shift), arm_colour(order)
    places = [(at, item) for at, item in zip(x, values, strict=True) if item.estimate is not None]
    for at, item in places:
        # What is drawn beside its place does not count towards the axes' limits by itself.
        ends = [end for end in (item.low, item.estimate, item.high) if end is not None]
        drawn.axes.update_datalim([(at, end) for end in ends])
        if item.low is not None and item.high is not None:
            drawn.axes.plot([at, at], [item.low, item.high], color=colour, linewidth=1.4, alpha=0.6, transform=moved)
    estimates = [item.estimate or 0.0 for _, item in places]
    drawn.axes.plot(
        [at for at, _ in places], estimates, color=colour, linewidth=2.2, marker=MARKERS[order % len(MARKERS)],
        markersize=6, transform=moved,
    )  # fmt: skip
    return estimates[-1] if estimates else None


def levels(results: Results) -> list[Markup]:
    """The headline metric for each level: a bar an arm, with its interval."""
    metric = views.measure_of(results, results.headline)
    rows = {level: [views.measure(arm, metric.name, level=level) for arm in results.arms] for level in results.levels}
    rows = {level: row for level, row in rows.items() if any(item.estimate is not None for item in row)}
    items = [item for row in rows.values() for item in row]
    ends = [end for item in items for end in (item.low, item.estimate, item.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends]) or 1.0
    drawn: list[Markup] = []
    for order, (level, row) in enumerate(rows.items()):
        alt = f"{metric.label} on level {level}: a bar with its interval for each arm."
        name, height = f"level{order}", 84 + 22 * len(row)
        with panel(name=name, title=level, x=metric.label, alt=alt, left=0.26, right=0.97, height=height) as chart:
            chart.axes.grid(visible=False, axis="y")
            chart.axes.set_xlim(low, high + 0.18 * (high - low))  # one scale for all levels, with room for the numbers
            chart.axes.set_ylim(len(row) - 0.5, -0.5)
            chart.axis_numbers("x", share=metric.share)
            chart.axes.set_yticks(range(len(row)), [shortened(arm.name, 13) for arm in results.arms])
            for index, item in enumerate(row):
                chart.axes.get_yticklabels()[index].set_color(INK)
                if item.estimate is not None:
                    _draw_bar(chart, index, metric, item)
        drawn.append(chart.svg)
    return drawn


def _draw_bar(drawn: Panel, index: int, metric: Measure, item: Interval) -> None:
    estimate = item.estimate or 0.0
    drawn.axes.barh(index, estimate, height=0.62, color=arm_colour(index), alpha=0.85, linewidth=0)
    end = estimate
    if item.low is not None and item.high is not None:
        drawn.axes.plot([item.low, item.high], [index, index], color=INK, linewidth=1.4, solid_capstyle="butt")
        end = max(end, item.high)
    drawn.axes.annotate(
        numbers.format_quantity(metric, item.estimate), (end, index), xytext=(4, 0), textcoords="offset points",
        va="center", color=MUTED, fontsize=SIZE - 1,
    )  # fmt: skip
