"""The report as one HTML file: no script, no remote source, nothing in it that could act as markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from preflab import text
from preflab.analysis.record import ArmResult, Comparison, DecidedClaim, DecodingChoice, Interval, Measure, Results
from preflab.report import figures, forest, numbers, reliability, views
from preflab.report.code import highlighted
from preflab.report.html import content_policy, environment, style_sheet
from preflab.report.svg import COLOURS


class _Cell(NamedTuple):
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
        numbers=numbers,
        views=views,
        cell=cell,
        highlighted=highlighted,
        outcomes=OUTCOMES,
        results=results,
        style=style,
        policy=content_policy(style),
        colours={arm.name: f"c{index % COLOURS}" for index, arm in enumerate(results.arms)},
        headline=views.measure_of(results, results.headline),
        tuning_measure=views.measure_of(results, results.tuning.metric),
        main=views.main_measures(results),
        others=views.other_measures(results),
        sentence=verdict_sentence(results),
        forest_axis=axis,
        forest=rows,
        claims_axis=claims_axis,
        claims=claims,
        groups=comparison_groups(results),
        sweep=figures.sweep(results),
        diagrams=reliability.diagrams(results),
        curves=figures.curves(results),
        verdicts=figures.verdicts(results),
        frontier=figures.draw_frontier(results),
        levels=figures.levels(results),
        frontier_bounds=any(point.bound for arm in results.arms for run in arm.runs for point in run.frontier),
    )


def cell(arm: ArmResult, metric: Measure) -> _Cell:
    """The table's cell. A metric that is measured at temperature 1 only stands there as its value."""
    chosen, unit = views.measure(arm, metric.name), views.measure(arm, metric.name, decoding="unit")
    if chosen.estimate is None:
        chosen, unit = unit, Interval()
    return _Cell(
        value=numbers.format_quantity(metric, chosen.estimate),
        bounds=numbers.format_bounds(metric, chosen),
        unit=numbers.format_quantity(metric, unit.estimate) if unit.estimate is not None else "",
        unit_bounds=numbers.format_bounds(metric, unit),
    )


def verdict_sentence(results: Results) -> Markup:
    """The verdict's sentence with each arm's name (unless it is long) kept on one line."""
    sentence = escape(text.visible(results.verdict.sentence))
    names = sorted(
        (escape(text.visible(arm.name)) for arm in results.arms if len(arm.name) <= 24), key=len, reverse=True
    )
    pattern = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in names)
    return Markup(re.sub(pattern, r'<span class="arm-name">\g<0></span>', str(sentence))) if names else sentence


def forest_column(results: Results) -> tuple[Markup, dict[str, Markup]]:
    """The column's head, and for each arm its headline metric at both decodings, on a scale that all arms share."""

    def values(decoding: DecodingChoice) -> list[Interval]:
        return [views.measure(arm, results.headline, decoding=decoding) for arm in results.arms]

    chosen, unit = values("chosen"), values("unit")
    scale = forest.scale([*chosen, *unit])
    rows = zip(results.arms, chosen, unit, strict=True)
    drawn = {
        arm.name: forest.row(scale, at, colour=f"c{index % COLOURS}", beside=beside)
        for index, (arm, at, beside) in enumerate(rows)
    }
    return forest.axis(scale, views.measure_of(results, results.headline)), drawn


OUTCOMES = {"confirmed": "winner", "refuted": "bad"}
"""The style of a claim's outcome; the others have none."""


def claims_column(results: Results) -> tuple[Markup, Sequence[tuple[DecidedClaim, Markup]]]:
    """The claims, each with its interval against 0 (solid) and its margin (dashed), on a scale that all share."""
    margins = [decided.claim.margin for decided in results.claims]
    scale = forest.scale([decided.value for decided in results.claims], zero=True, marks=margins)
    colours = {"confirmed": "good", "refuted": "bad"}
    drawn = [
        (row, forest.row(scale, row.value, colour=colours.get(row.outcome, "muted"), mark=row.claim.margin))
        for row in results.claims
    ]
    return forest.axis(scale, views.measure_of(results, results.headline)), drawn


class ComparisonGroup(NamedTuple):
    """The comparisons of one metric: the head of their forest column, and each with its row."""

    metric: Measure
    axis: Markup
    rows: Sequence[tuple[Comparison, Markup]]


def comparison_groups(results: Results) -> list[ComparisonGroup]:
    """The comparisons by metric, each group on a scale of its own with a line at zero."""
    groups: list[ComparisonGroup] = []
    for name in dict.fromkeys(pair.metric for pair in results.comparisons):
        pairs = [pair for pair in results.comparisons if pair.metric == name]
        scale = forest.scale(pairs, zero=True)
        colours = ["muted" if pair.verdict == "not decided" else "ink" for pair in pairs]
        drawn = [forest.row(scale, pair, colour=c) for pair, c in zip(pairs, colours, strict=True)]
        metric = views.measure_of(results, name)
        groups.append(ComparisonGroup(metric, forest.axis(scale, metric), list(zip(pairs, drawn, strict=True))))
    return groups
