"""The report's training curves: a line for each seed, and their mean. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from preflab.analysis.record import ArmResult, CurvePoint, Measure, Number, Results
from preflab.report import numbers, views
from preflab.report.marks import arm_mark
from preflab.report.panels import Label, Panel, panel
from preflab.report.svg import COLOURS, arm_colour
from preflab.types import VERDICT

MARKED = 6
"""Marks along a mean line, about."""
MEASURED = {
    "validation": "validation problems, temperature 1",
    "reward": "training samples, each arm's own temperature",
    "reference_kl": "training samples, each arm's own temperature",
}
"""On what a curve's metric is measured, and at which temperature answers are drawn."""
ON_DATA = "training batches; log-probabilities at temperature 1"


class CurvePlace(NamedTuple):
    """A point of a seed's curve; `share`: how much of its run is over."""

    share: float
    x: float
    y: float


class Line(NamedTuple):
    """One seed's curve, and whether it ended in divergence."""

    places: Sequence[CurvePlace]
    diverged: bool


class Against(NamedTuple):
    """An x axis of the training curves."""

    label: str
    get: Callable[[CurvePoint], Number]


UPDATES = Against("policy updates", lambda point: point.updates)
TRAINING_STEPS = Against("training steps", lambda point: point.step)
BUDGETS = (
    Against("labels and reward calls", lambda point: point.labels),
    Against("FLOP, shared stages included", lambda point: point.flops),
)


def curves(results: Results) -> list[Markup]:
    """Every curve's metric against updates; the first also against both budgets."""
    points = [point for arm in results.arms for run in arm.runs for point in run.curve]
    names = dict.fromkeys(name for point in points for name in point.metrics if not is_verdict(name))
    time = time_of(points)
    drawn: list[Markup] = []
    for order, name in enumerate(names):
        metric = views.measure_of(results, name)
        for against in (time, *BUDGETS) if order == 0 else (time,):
            svg = _curve(results, metric, against, f"curve{len(drawn)}")
            drawn += [svg] if svg else []
    return drawn


def time_of(points: Sequence[CurvePoint]) -> Against:
    """Updates of the policy, as the tables count them; steps of the loop where a record lacks the updates."""
    return TRAINING_STEPS if any(point.updates is None for point in points) else UPDATES


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
    """The curve of each seed that has the value. A run that diverged would have had as many steps as the others."""
    ends = [run.curve[-1].step for run in arm.runs if run.curve and not run.diverged]
    typical = fmean(ends or [run.curve[-1].step for run in arm.runs if run.curve] or [1])
    lines: list[Line] = []
    for run in arm.runs:
        end = max(1.0, typical if run.diverged else float(run.curve[-1].step)) if run.curve else 1.0
        points = [(point.step / end, against.get(point), value(point)) for point in run.curve]
        places = [CurvePlace(share, x, y) for share, x, y in points if x is not None and y is not None]
        lines += [Line(places, run.diverged)] if places else []
    return lines


def _draw_lines(drawn: Panel, index: int, arm: ArmResult, lines: Sequence[Line]) -> Label:
    """Seeds thin, their mean thick; returns the label that belongs at the mean's end. A seed alone has no mean."""
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
        return Label(fmean(line.places[-1].y for line in lines), arm.name, index)
    width = 2.2 if len(lines) > 1 else 0.0
    drawn.assign(draw_marked(drawn, mean, arm_mark(index).marker, linewidth=width, **style), index)
    return Label(mean[-1][1], arm.name, index)


def draw_marked(drawn: Panel, line: Sequence[tuple[float, float]], marker: str, **style: str | float) -> object:
    """A line with marks along it, the last one at its end."""
    x, y = zip(*line, strict=True)
    every = max(1, len(line) // MARKED)
    marks = {"marker": marker, "markersize": 5.5, "markevery": ((len(line) - 1) % every, every), "markeredgewidth": 0}
    return drawn.axes.plot(x, y, **marks, **style)[0]


def mean_line(lines: Sequence[Sequence[CurvePlace]]) -> list[tuple[float, float]]:
    """Mean x and y over seeds, as far as all of them reach: look by look where their looks belong together, else at equal
    shares of their runs, with straight lines between the looks. Empty where no share is common to all."""
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


def _belong_together(lines: Sequence[Sequence[CurvePlace]], look: int) -> bool:
    """Whether the seeds' places of this number lie nearer to each other than to the next ones."""
    shares = [line[look].share for line in lines]
    following = [line[look + 1].share for line in lines if len(line) > look + 1]
    return not following or max(shares) - min(shares) < min(following) - max(shares)


def verdicts(results: Results) -> list[Markup]:
    """For each arm that was rewarded by tests: the share of each verdict along training, the mean over its seeds."""
    drawn: list[Markup] = []
    for arm in results.arms:
        points = [point for run in arm.runs for point in run.curve]
        names = sorted({name for point in points for name in point.metrics if is_verdict(name)})
        if names:
            drawn.append(_verdicts(arm, names, time_of(points), f"verdicts{len(drawn)}"))
    return drawn


def share_of(verdict: str) -> Callable[[CurvePoint], Number]:
    """The share of a verdict where samples were judged: 0 where none had it."""
    return lambda point: point.metrics.get(verdict, 0.0) if any(map(is_verdict, point.metrics)) else None


def is_verdict(name: str) -> bool:
    return name.startswith(VERDICT)


def _verdicts(arm: ArmResult, names: Sequence[str], time: Against, name: str) -> Markup:
    alt = f"Shares of the judge's verdicts on {arm.name}'s samples, against {time.label}."
    measured = "training samples, the arm's own temperature"
    with panel(name=name, title=arm.name, measured=measured, x=time.label, alt=alt) as drawn:
        labels: list[Label] = []
        for order, verdict in enumerate(names):
            mean = mean_line([line.places for line in lines_of(arm, time, share_of(verdict))])
            if mean:
                draw_marked(drawn, mean, arm_mark(order).marker, linewidth=2.0, color=arm_colour(order))
                labels.append(Label(mean[-1][1], verdict.removeprefix(VERDICT), order))
        drawn.finish_lines(labels, numbers.SHARE, are_arms=False)
    return drawn.svg
