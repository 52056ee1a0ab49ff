"""The report in the terminal: the verdict, one table, and where to read on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from preflab.analysis.record.results import Claim, Metric, Results
from preflab.report import text, views


def print_summary(results: Results, console: Console) -> None:
    """Prints the verdict and the arms. Names are shown as text: neither rich's markup nor escape sequences act."""
    console.print(Text(text.one_line(results.verdict.sentence), style="bold"))
    for warning in filter(None, (results.unfinished, *results.unrewarded)):
        console.print(Text(text.one_line(warning), style="yellow"))
    for evaluator in results.evaluators:
        if not evaluator.can_rank:
            console.print(Text(f"The evaluator {text.one_line(evaluator.name)} cannot rank.", style="yellow"))
    other = f"At equal {views.other_budget(results)} instead: {views.holds_words(results).lower()}."
    console.print(Text(f"{views.certainty_words(results)}. Equal: {views.budget_words(results)}. {other}"))
    for claim in results.claims:
        console.print(_claim(claim, views.metric_of(results, results.headline)))
    console.print(_table(results))
    for caveat in results.caveats:
        console.print(Text(f"- {text.one_line(caveat)}", style="dim"))


STYLES = {"confirmed": "bold green", "refuted": "bold red"}


def _claim(claim: Claim, metric: Metric) -> Text:
    """One line: its name, the outcome, the contrast with its interval, and what to doubt."""
    doubt = views.doubt_words(claim)
    found = f"{text.difference(metric, claim.value.estimate)} {text.bounds(metric, claim.value, sign=True)}".strip()
    words = f"{views.contrast_words(claim)}: {found}, claimed {views.rule_words(claim, metric)}"
    line = Text(f"{text.one_line(views.claim_name(claim))}: ")
    line.append(claim.outcome, style=STYLES.get(claim.outcome, "bold"))
    return line.append(f" ({text.one_line(f'{words}; {doubt}' if doubt else words)})")


def _table(results: Results) -> Table:
    metrics = views.main_metrics(results)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("arm")
    for metric in metrics:
        table.add_column(Text(text.one_line(metric.label)), justify="right")
    for name in ("labels, calls", "FLOP", "time"):
        table.add_column(name, justify="right")
    for arm in results.arms:
        style = "bold green" if arm.name == results.verdict.winner else ""
        first = [(metric, views.shown(arm, metric.name)) for metric in metrics]
        cells = [f"{text.quantity(metric, value.estimate)}" for metric, value in first]
        cells[0] = f"{cells[0]} {text.bounds(*first[0])}".strip()
        cells += [text.number(views.labels(arm)), text.scaled(views.spent(arm, "flops"))]
        cells += [text.duration(views.wall_seconds(results, arm))]
        table.add_row(Text(text.one_line(arm.name), style=style), *(Text(cell, style=style) for cell in cells))
    return table
