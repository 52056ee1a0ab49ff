"""Draws the reward-KL plot, which shows the score of each checkpoint against the KL to the SFT model. Needs
matplotlib."""

from __future__ import annotations

from statistics import fmean

from markupsafe import Markup

from preflab.analysis.record import ArmResult, Measure, Results, RunResult
from preflab.report import metrics, numbers
from preflab.report.marks import arm_mark
from preflab.report.panels import EdgeLabel, Panel, panel
from preflab.report.svg import SURFACE, arm_colour

WIDTH, HEIGHT = 640, 440
"""The size of the reward-KL plot in CSS pixels. The plot is larger than the other figures, because its lines cross."""


def draw_frontier(results: Results) -> Markup | None:
    """Draws the score against the KL to the SFT model for every checkpoint of every seed. A mark is hollow if its KL is
    only an upper bound. Returns None if no run measured the KL."""
    if not any(run.frontier for arm in results.arms for run in arm.runs):
        return None
    metric = metrics.find_metric(results, "score")
    alt = f"{metric.label} against KL to the SFT model at every checkpoint; up and to the left is better."
    measured = "temperature 1; validation problems (last mark: test problems)"
    x = "KL to the SFT model, nats per response, temperature 1"
    with panel(
        name="frontier", title=metric.label, measured=measured, x=x, alt=alt,
        width=WIDTH, height=HEIGHT, left=0.08, right=0.84,
    ) as drawn:  # fmt: skip
        labels: list[EdgeLabel] = []
        for index, arm in enumerate(results.arms):
            ends = [end for run in arm.runs if (end := _draw_path(drawn, index, arm, run, metric)) is not None]
            labels += [EdgeLabel(fmean(ends), arm.name, index)] if ends else []
        drawn.finish_lines(labels, metric, margin=0.04)
    return drawn.svg


def _draw_path(drawn: Panel, index: int, arm: ArmResult, run: RunResult, metric: Measure) -> float | None:
    """Draws a line through the checkpoints of one run, with a large mark for the last checkpoint. Returns the score of
    the last checkpoint, or None if no checkpoint has both a KL and a score."""
    path = [(at.kl, at.score, at.bound, at.step) for at in run.frontier if at.kl is not None and at.score is not None]
    if not path:
        return None
    colour, marker = arm_colour(index), arm_mark(index).marker
    line = drawn.axes.plot([kl for kl, *_ in path], [at[1] for at in path], color=colour, linewidth=0.9, alpha=0.5)
    drawn.assign(line[0], index)
    for order, (kl, score, bound, step) in enumerate(path, start=1):
        last = order == len(path)
        mark = drawn.axes.plot(
            kl, score, marker=marker, markersize=8 if last else 4.5, color=colour, alpha=1.0 if last else 0.6,
            markerfacecolor=SURFACE if bound else colour, markeredgewidth=1.4 if bound else 0, linestyle="none",
        )  # fmt: skip
        distance = f"KL {'at most ' if bound else ''}{numbers.format_number(kl)}"
        where = "the end, on test problems" if last else f"step {step}, on validation problems"
        words = (
            f"{arm.name}, seed {run.seed}",
            where,
            f"{metric.label} {numbers.format_quantity(metric, score)}",
            distance,
        )
        drawn.assign(mark[0], index, "; ".join(words))
    return path[-1][1]
