"""Renders the report as a single HTML file, which loads no other files. Texts from the data are escaped. The page shows
all its content even if its script does not run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from preflab import text
from preflab.analysis.record import Comparison, DecodingChoice, Measure, Results
from preflab.page_policy import content_policy
from preflab.report import figures, forest, metrics, reliability, training, verdicts
from preflab.report.code import highlighted
from preflab.report.frontier import draw_frontier
from preflab.report.html import environment, script, style_sheet
from preflab.report.marks import arm_mark
from preflab.report.svg import COLOURS


def render_html(results: Results) -> str:
    """Returns the whole page as HTML. The same results give the same bytes."""
    style, behaviour = style_sheet("style.css"), script("report.js")
    headline = metrics.find_metric(results, results.headline)
    chosen = [metrics.find_value(arm, results.headline) for arm in results.arms]
    unit = [metrics.find_value(arm, results.headline, decoding="unit") for arm in results.arms]
    drawn = [
        row for row in results.claims if not row.claim.measure
    ]  # claims about other measures than the headline metric are not drawn, because they can have other units
    claimed, margins = [row.value for row in drawn], [row.claim.margin for row in drawn]
    page = environment().get_template("report.html.j2")
    return page.render(
        highlighted=highlighted,
        results=results,
        style=style,
        script=behaviour,
        policy=content_policy(style, behaviour),
        arms=metrics.rank_arms(results),
        orders={arm.name: index for index, arm in enumerate(results.arms)},
        outlines={arm.name: arm_mark(index).outline for index, arm in enumerate(results.arms)},
        colours={arm.name: f"c{index % COLOURS}" for index, arm in enumerate(results.arms)},
        headline=headline,
        main=metrics.list_main_metrics(results),
        answers=[(words, with_names(verdict.sentence, results)) for words, verdict in verdicts.list_verdicts(results)],
        arms_scale=forest.scale([*chosen, *unit], limits=headline.range),
        claims_scale=forest.scale(claimed, zero=True, marks=margins),
        groups=comparison_groups(verdicts.list_further_comparisons(results), results),
        evidence=comparison_groups(verdicts.list_evidence(results), results),
        sweep=figures.sweep(results),
        diagrams=reliability.diagrams(results),
        curves=training.curves(results),
        program_verdicts=training.verdicts(results),
        frontier=draw_frontier(results),
        levels=figures.levels(results),
        frontier_bounds=any(point.bound for arm in results.arms for run in arm.runs for point in run.frontier),
    )


def with_names(words: str, results: Results) -> Markup:
    """Returns a verdict's sentence as HTML. Arm names of at most 24 characters get a CSS class, so that a browser does
    not break the line inside such a name."""
    sentence = escape(text.visible(words))
    short = [escape(text.visible(arm.name)) for arm in results.arms if len(arm.name) <= 24]
    names = sorted(short, key=len, reverse=True)
    pattern = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in names)
    return Markup(re.sub(pattern, r'<span class="arm-name">\g<0></span>', str(sentence))) if names else sentence


def comparison_groups(
    comparisons: Sequence[Comparison], results: Results
) -> list[tuple[Measure, str, forest.Scale, list[Comparison]]]:
    """Groups the comparisons by metric and by decoding setting (such as greedy, or sampling at temperature 1). Each group
    consists of the metric, the title, the scale of the forest plot, and the comparisons. The scale includes a line at
    zero. All groups of a metric have the same scale."""
    groups: list[tuple[Measure, str, forest.Scale, list[Comparison]]] = []
    for name in dict.fromkeys(pair.metric for pair in comparisons):
        metric, pairs = metrics.find_metric(results, name), [pair for pair in comparisons if pair.metric == name]
        scale = forest.scale(pairs, zero=True)
        decodings: dict[DecodingChoice, None] = dict.fromkeys(pair.decoding for pair in pairs)
        for decoding in decodings:
            where = f", {verdicts.name_decoding(results, decoding)}" if verdicts.decides_twice(results) else ""
            rows = [pair for pair in pairs if pair.decoding == decoding]
            groups.append((metric, metric.label + where, scale, rows))
    return groups
