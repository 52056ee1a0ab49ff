"""Draws the training curves of each arm: a line for each seed, and a line for the mean over seeds. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from preflab.analysis.record import ArmResult, CurvePoint, Measure, Number, Results
from preflab.report import metrics, numbers
from preflab.report.marks import arm_mark
from preflab.report.panels import EdgeLabel, Panel, panel
from preflab.report.svg import COLOURS, arm_colour
from preflab.types import VERDICT

MARKED = 6
"""The approximate number of marks on a mean line."""
MEASURED = {
    "validation": "validation problems, temperature 1",
    "reward": "training samples, each arm's own temperature",
    "reference_kl": "training samples, each arm's own temperature",
}
"""Maps a metric of the training curves to the line below the chart's title. The line names the data on which the metric is
measured, and the sampling temperature."""
ON_DATA = "training batches; log-probabilities at temperature 1"


class SeedPoint(NamedTuple):
    """A point of one seed's curve. `share`: the number of steps so far, as a fraction of all steps of the run. `x`, `y`:
    the coordinates of the point."""

    share: float
    x: float
    y: float


class Line(NamedTuple):
    """One seed's curve. `places`: the points of the curve. `diverged`: True if the run stopped because it diverged."""

    places: Sequence[SeedPoint]
    diverged: bool


class Against(NamedTuple):
    """An x axis of the training curves. `label`: the label of the axis. `get`: a function that returns the x value of a
    point."""

    label: str
    get: Callable[[CurvePoint], Number]


UPDATES = Against("policy updates", lambda point: point.updates)
LOOP_STEPS = Against("training steps", lambda point: point.step)
BUDGETS = (
    Against("labels and reward calls", lambda point: point.labels),
    Against("FLOP, shared stages included", lambda point: point.flops),
)


def curves(results: Results) -> list[Markup]:
    """Draws each metric of the training curves against policy updates. Draws the first of these metrics also against
    labels and against FLOP."""
    points = [point for arm in results.arms for run in arm.runs for point in run.curve]
    names = dict.fromkeys(name for point in points for name in point.metrics if not is_verdict(name))
    time = time_of(points)
    drawn: list[Markup] = []
    for order, name in enumerate(names):
        metric = metrics.find_metric(results, name)
        for against in (time, *BUDGETS) if order == 0 else (time,):
            svg = _curve(results, metric, against, f"curve{len(drawn)}")
            drawn += [svg] if svg else []
    return drawn


def time_of(points: Sequence[CurvePoint]) -> Against:
    """Returns the x axis for training time: policy updates. If at least one point has an unknown number of updates,
    returns training steps instead."""
    return LOOP_STEPS if any(point.updates is None for point in points) else UPDATES


def _curve(results: Results, metric: Measure, against: Against, name: str) -> Markup | None:
    series = [(index, arm, lines_of(arm, against, metric_of(metric.name))) for index, arm in enumerate(results.arms)]
    series = [(index, arm, lines) for index, arm, lines in series if lines]
    if not series:
        return None
    label, measured = metric.label, MEASURED.get(metric.name, ON_DATA)
    alt = f"{label} against {against.label}: a thin line for each seed, a thick one for their mean, for each arm."
    with panel(name=name, title=label, measured=measured, x=against.label, alt=alt) as drawn:
        drawn.finish_lines([_draw_lines(drawn, *row) for row in series], metric)
    return drawn.svg


def metric_of(name: str) -> Callable[[CurvePoint], Number]:
    return lambda point: point.metrics.get(name)


def lines_of(arm: ArmResult, against: Against, value: Callable[[CurvePoint], Number]) -> list[Line]:
    """Returns one curve for each seed under which the metric was measured. `value`: returns the metric's value of a point.
    The planned number of steps of a diverged run is estimated by the mean number of steps of the arm's other runs."""
    ends = [run.curve[-1].step for run in arm.runs if run.curve and not run.diverged]
    typical = fmean(ends or [run.curve[-1].step for run in arm.runs if run.curve] or [1])
    lines: list[Line] = []
    for run in arm.runs:
        end = max(1.0, typical if run.diverged else float(run.curve[-1].step)) if run.curve else 1.0
        points = [(point.step / end, against.get(point), value(point)) for point in run.curve]
        places = [SeedPoint(share, x, y) for share, x, y in points if x is not None and y is not None]
        lines += [Line(places, run.diverged)] if places else []
    return lines


def _draw_lines(drawn: Panel, index: int, arm: ArmResult, lines: Sequence[Line]) -> EdgeLabel:
    """Draws a thin line for each seed and a thick line for the mean over seeds. For a single seed, draws only the line
    of this seed. Returns the label for the end of the mean line."""
    style = {"color": arm_colour(index), "linestyle": "-" if index < COLOURS else "--"}
    thin = {"linewidth": 0.9, "alpha": 0.4} if len(lines) > 1 else {"linewidth": 1.6}
    for line in lines:
        _, x, y = zip(*line.places, strict=True)
        drawn.assign(drawn.axes.plot(x, y, **thin, **style)[0], index)
        if line.diverged:
            cross = drawn.axes.plot(x[-1], y[-1], marker="x", markersize=8, markeredgewidth=2, **style)[0]
            drawn.assign(cross, index)
    mean = mean_line([line.places for line in lines])
    if not mean:
        return EdgeLabel(fmean(line.places[-1].y for line in lines), arm.name, index)
    width = 2.2 if len(lines) > 1 else 0.0
    drawn.assign(draw_marked(drawn, mean, arm_mark(index).marker, linewidth=width, **style), index)
    return EdgeLabel(mean[-1][1], arm.name, index)


def draw_marked(drawn: Panel, line: Sequence[tuple[float, float]], marker: str, **style: str | float) -> object:
    """Draws a line with marks at equal distances. The last mark is at the end of the line."""
    x, y = zip(*line, strict=True)
    every = max(1, len(line) // MARKED)
    marks = {"marker": marker, "markersize": 5.5, "markevery": ((len(line) - 1) % every, every), "markeredgewidth": 0}
    return drawn.axes.plot(x, y, **marks, **style)[0]


def mean_line(lines: Sequence[Sequence[SeedPoint]]) -> list[tuple[float, float]]:
    """Returns the mean curve over seeds, up to the last point that all seeds reach. If the seeds have points at
    corresponding steps, the curves are averaged point by point. If not, each curve is interpolated linearly at the same
    fractions of the run, and the interpolated values are averaged. Returns an empty list if the curves do not overlap."""
    looks = min(len(line) for line in lines)
    if all(_belong_together(lines, look) for look in range(looks)):
        rows = [[line[look] for line in lines] for look in range(looks)]
        return [(fmean(place.x for place in row), fmean(place.y for place in row)) for row in rows]
    first, last = max(line[0].share for line in lines), min(line[-1].share for line in lines)
    shares = sorted({first, last} | {place.share for place in max(lines, key=len) if first < place.share < last})
    if first > last:
        return []
    columns = [np.array(line, dtype=float).T for line in lines]
    x, y = (np.mean([np.interp(shares, column[0], column[axis]) for column in columns], axis=0) for axis in (1, 2))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _belong_together(lines: Sequence[Sequence[SeedPoint]], look: int) -> bool:
    """Returns True if the points of all seeds at the index `look` belong to about the same progress of the runs. The
    points at this index must then be closer to each other than to any point at the next index: the largest minus the
    smallest progress at this index is less than the smallest progress at the next index minus the largest at this one.
    Also returns True if no seed has a point at the next index."""
    shares = [line[look].share for line in lines]
    following = [line[look + 1].share for line in lines if len(line) > look + 1]
    return not following or max(shares) - min(shares) < min(following) - max(shares)


def verdicts(results: Results) -> list[Markup]:
    """Draws a chart for each arm whose training samples were judged (for example, programs that passed or failed tests).
    The chart shows the share of each verdict over training time, as a mean over the arm's seeds."""
    drawn: list[Markup] = []
    for arm in results.arms:
        points = [point for run in arm.runs for point in run.curve]
        names = sorted({name for point in points for name in point.metrics if is_verdict(name)})
        if names:
            drawn.append(_verdicts(arm, names, time_of(points), f"verdicts{len(drawn)}"))
    return drawn


def share_of(verdict: str) -> Callable[[CurvePoint], Number]:
    """Returns a function that maps a point of a training curve to the share of samples with the verdict `verdict`. The
    share is 0 if no sample received this verdict, and None if no sample was judged."""
    return lambda point: point.metrics.get(verdict, 0.0) if any(map(is_verdict, point.metrics)) else None


def is_verdict(name: str) -> bool:
    return name.startswith(VERDICT)


def _verdicts(arm: ArmResult, names: Sequence[str], time: Against, name: str) -> Markup:
    alt = f"Shares of the judge's verdicts on {arm.name}'s samples, against {time.label}."
    measured = "training samples, the arm's own temperature"
    with panel(name=name, title=arm.name, measured=measured, x=time.label, alt=alt) as drawn:
        labels: list[EdgeLabel] = []
        for order, verdict in enumerate(names):
            mean = mean_line([line.places for line in lines_of(arm, time, share_of(verdict))])
            if mean:
                draw_marked(drawn, mean, arm_mark(order).marker, linewidth=2.0, color=arm_colour(order))
                labels.append(EdgeLabel(mean[-1][1], verdict.removeprefix(VERDICT), order))
        drawn.finish_lines(labels, numbers.SHARE, are_arms=False)
    return drawn.svg
