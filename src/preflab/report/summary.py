"""Prints the report in the terminal: the verdicts with the comparisons that support them, the claims, a table of the
arms, and the caveats."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from preflab import text
from preflab.analysis.record import Comparison, DecidedClaim, DecodingChoice, Measure, Results
from preflab.analysis.winrates.words import length_words
from preflab.report import claims, evaluators, metrics, numbers, spending, verdicts
from preflab.terminal import Terminal


def print_summary(results: Results, console: Terminal) -> None:
    """Prints the summary of a study's results in the terminal. Names are printed as plain text, so that rich markup and
    escape sequences in names have no effect."""
    for words, verdict in verdicts.list_verdicts(results):
        console.print(Text(text.one_line(verdicts.state_answer(words, verdict)), style="bold"))
    weak = [evaluator.name for evaluator in results.evaluators if not evaluator.can_rank]
    doubts = [f"The evaluator {name} cannot rank: it may be no better than chance." for name in weak]
    warnings = [results.unfinished, *results.unrewarded, *doubts]
    for warning in filter(None, warnings):
        console.print(Text(text.one_line(warning), style="yellow"))
    held = "; ".join(
        dict.fromkeys(verdicts.state_holding(verdict).lower() for _, verdict in verdicts.list_verdicts(results))
    )
    other = f"With equal {verdicts.name_other_budget(results)} instead: {held}."
    certainty = text.one_line(verdicts.state_certainty(results))
    console.print(Text(f"{certainty}. Budget: {spending.state_budget(results)}. {other}"))
    console.print(Text(text.one_line(spending.state_spending(results))))
    metric = metrics.find_metric(results, results.headline)
    for pair in verdicts.list_evidence(results):
        console.print(_pair(pair, metric, _where(results, pair.decoding)))
    for decided in results.claims:
        console.print(_claim(results, decided))
    console.print(_table(results))
    for pair in results.pairwise:
        length = "" if pair.length is None else f"; {length_words(pair.length)}"
        console.print(Text(text.one_line(evaluators.win_words(pair) + length)))
    for caveat in results.caveats:
        console.print(Text(f"- {text.one_line(caveat)}", style="dim"))


_STYLES = {"confirmed": "bold green", "refuted": "bold red"}


def _where(results: Results, decoding: DecodingChoice) -> str:
    """Writes the decoding setting for a printed line: ', with greedy decoding' or ', at temperature 1'. Returns '' if the
    study has only one decoding setting."""
    return f", {verdicts.name_decoding(results, decoding)}" if verdicts.decides_twice(results) else ""


def _pair(pair: Comparison, metric: Measure, where: str) -> Text:
    """Returns the printed line for a comparison of two arms: the difference with its interval, and the verdict in
    words."""
    difference = numbers.format_difference(metric, pair.estimate)
    words = (
        f"{pair.first} − {pair.second}{where}: {difference} {numbers.format_bounds(metric, pair, sign=True)}".strip()
    )
    remark = f" ({text.one_line(pair.reason)})" if pair.is_unusual else ""
    return Text(f"  {text.one_line(words)}: {verdicts.state_outcome(pair)}{remark}")


def _claim(results: Results, decided: DecidedClaim) -> Text:
    """Returns the printed line for a claim and one decoding setting (such as greedy, or sampling at temperature 1). The
    line has the claim's name, the outcome, the weighted sum of arms with its interval, the claimed statement, the reasons
    to doubt the outcome, and the claim's control contrast."""
    claim, value = decided.claim, decided.value
    metric, where = claims.metric_of_claim(results, claim), _where(results, decided.decoding)
    difference = numbers.format_difference(metric, value.estimate)
    contrast = f"{difference} {numbers.format_bounds(metric, value, sign=True)}".strip()
    subject = f" ({metric.label})" if claim.measure else ""
    words = f"{claims.write_contrast(claim.contrast)}{subject}: {contrast}, claimed {claims.state_rule(claim, metric)}"
    line = Text(f"{text.one_line(claims.name_claim(claim))}{where}: ")
    line.append(decided.outcome, style=_STYLES.get(decided.outcome, "bold"))
    doubts = [
        claims.state_joint_outcome(results, claim),
        claims.list_doubts(decided),
        claims.state_control(decided, metric),
    ]
    return line.append(f" ({text.one_line('; '.join([words, *filter(None, doubts)]))})")


def _table(results: Results) -> Table:
    columns = metrics.list_main_metrics(results)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("arm")
    twice = metrics.list_metrics_measured_twice(results) if verdicts.decides_twice(results) else ()
    at_unit = [f"{metric.label} at T = 1" for metric in twice]
    for name in (*(metric.label for metric in columns), *at_unit, "labels or calls", "FLOP", "time"):
        table.add_column(Text(text.one_line(name)), justify="right")
    for arm in metrics.rank_arms(results):
        style = "bold green" if verdicts.state_win(results, arm.name) else ""
        first = [(metric, metrics.find_reported_value(arm, metric.name)) for metric in columns]
        cells = [numbers.format_quantity(metric, value.estimate) for metric, value in first]
        cells[0] = f"{cells[0]} {numbers.format_bounds(*first[0])}".strip()
        for metric in twice:
            unit = metrics.find_value(arm, metric.name, decoding="unit")
            bounds = numbers.format_bounds(metric, unit)
            cells.append(f"{numbers.format_quantity(metric, unit.estimate)} {bounds}".strip())
        cells += [
            numbers.format_number(spending.average_labels(arm)),
            numbers.format_scaled(spending.average_spent(arm, "flops")),
        ]
        cells += [numbers.format_duration(spending.average_wall_seconds(results, arm))]
        table.add_row(*(Text(cell, style=style) for cell in (text.one_line(arm.name), *cells)))
    return table
