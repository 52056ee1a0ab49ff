"""The report as one HTML file: no script, no remote source, nothing in it that could act as markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from preflab.analysis.record.results import Arm, Claim, Comparison, Decoding, Interval, Metric, Results
from preflab.report import figures, forest, reliability, text, views
from preflab.report.code import highlighted
from preflab.report.html import content_policy, environment, style_sheet
from preflab.report.svg import COLOURS


class Cell(NamedTuple):
    """One metric of one arm: at the chosen temperature, and at temperature 1."""

    value: str
    bounds: str
    unit: str
    unit_bounds: str


def render_html(results: Results) -> str:
    """The whole page. The same results give the same bytes."""
    style = style_sheet("style.css")
    axis, rows = forest_column(results)
    claims_axis, claims = claims_column(results)
    page = environment().get_template("report.html.j2")
    return page.render(
        text=text,
        views=views,
        cell=cell,
        highlighted=highlighted,
        outcomes=OUTCOMES,
        results=results,
        style=style,
        policy=content_policy(style),
        colours={arm.name: f"c{index % COLOURS}" for index, arm in enumerate(results.arms)},
        headline=views.metric_of(results, results.headline),
        tuning_metric=views.metric_of(results, results.tuning.metric),
        main=views.main_metrics(results),
        others=views.other_metrics(results),
        sentence=sentence(results),
        forest_axis=axis,
        forest=rows,
        claims_axis=claims_axis,
        claims=claims,
        groups=comparison_groups(results),
        sweep=figures.sweep(results),
        diagrams=reliability.diagrams(results),
        curves=figures.curves(results),
        verdicts=figures.verdicts(results),
        frontier=figures.frontier(results),
        levels=figures.levels(results),
        frontier_bounds=any(point.bound for arm in results.arms for run in arm.runs for point in run.frontier),
    )


def cell(arm: Arm, metric: Metric) -> Cell:
    """The table's cell. A metric that is measured at temperature 1 only stands there as its value."""
    chosen, unit = views.measure(arm, metric.name), views.measure(arm, metric.name, decoding="unit")
    if chosen.estimate is None:
        chosen, unit = unit, Interval()
    return Cell(
        value=text.quantity(metric, chosen.estimate),
        bounds=text.bounds(metric, chosen),
        unit=text.quantity(metric, unit.estimate) if unit.estimate is not None else "",
        unit_bounds=text.bounds(metric, unit),
    )


def sentence(results: Results) -> Markup:
    """The verdict's sentence with each arm's name (unless it is long) kept on one line."""
    shown = escape(text.visible(results.verdict.sentence))
    names = sorted(
        (escape(text.visible(arm.name)) for arm in results.arms if len(arm.name) <= 24), key=len, reverse=True
    )
    pattern = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in names)
    return Markup(re.sub(pattern, r'<span class="arm-name">\g<0></span>', str(shown))) if names else shown


def forest_column(results: Results) -> tuple[Markup, dict[str, Markup]]:
    """The column's head, and for each arm its headline metric at both decodings, on a scale that all arms share."""

    def values(decoding: Decoding) -> list[Interval]:
        return [views.measure(arm, results.headline, decoding=decoding) for arm in results.arms]

    chosen, unit = values("chosen"), values("unit")
    scale = forest.scale([*chosen, *unit])
    rows = zip(results.arms, chosen, unit, strict=True)
    drawn = {
        arm.name: forest.row(scale, at, colour=f"c{index % COLOURS}", beside=beside)
        for index, (arm, at, beside) in enumerate(rows)
    }
    return forest.axis(scale, views.metric_of(results, results.headline)), drawn


OUTCOMES = {"confirmed": "winner", "refuted": "bad"}
"""The style of a claim's outcome; the others have none."""


def claims_column(results: Results) -> tuple[Markup, Sequence[tuple[Claim, Markup]]]:
    """The claims, each with its interval against 0 (solid) and its margin (dashed), on a scale that all share."""
    margins = [claim.margin for claim in results.claims if claim.margin is not None]
    scale = forest.scale([claim.value for claim in results.claims], zero=True, marks=margins)
    colours = {"confirmed": "good", "refuted": "bad"}
    drawn = [
        (claim, forest.row(scale, claim.value, colour=colours.get(claim.outcome, "muted"), mark=claim.margin))
        for claim in results.claims
    ]
    return forest.axis(scale, views.metric_of(results, results.headline)), drawn


class Group(NamedTuple):
    """The comparisons of one metric: the head of their forest column, and each with its row."""

    metric: Metric
    axis: Markup
    rows: Sequence[tuple[Comparison, Markup]]


def comparison_groups(results: Results) -> list[Group]:
    """The comparisons by metric, each group on a scale of its own with a line at zero."""
    groups: list[Group] = []
    for name in dict.fromkeys(pair.metric for pair in results.comparisons):
        pairs = [pair for pair in results.comparisons if pair.metric == name]
        scale = forest.scale([pair.difference for pair in pairs], zero=True)
        colours = ["muted" if pair.outcome == "undecided" else "ink" for pair in pairs]
        drawn = [forest.row(scale, pair.difference, colour=c) for pair, c in zip(pairs, colours, strict=True)]
        metric = views.metric_of(results, name)
        groups.append(Group(metric, forest.axis(scale, metric), list(zip(pairs, drawn, strict=True))))
    return groups
