"""`results.csv`: every number in long form, one a row, for a spreadsheet or a data frame.

Columns: study, arm, method, seed ('all' for an estimate over seeds), quantity, level ('' for all), decoding ('chosen',
'unit' for temperature 1, '' where it does not apply), value, low, high, directory, outcome. Rows of one seed hold the
metrics of a run and what it spent; rows of 'all' hold the estimates with their intervals. A claim has a row of its own:
its contrast as the arm, 'claim' as the method, its name as the quantity, and an outcome; so has a pair of arms of a pairwise
evaluator, with the method 'pairwise'.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from preflab.analysis.record import ArmResult, DecodingChoice, Number, Results, RunResult
from preflab.report.views import claim_name, contrast_words
from preflab.text import visible

COLUMNS = (
    *("study", "arm", "method", "seed", "quantity", "level", "decoding", "value", "low", "high", "directory"),
    "outcome",
)
_Cell = str | int | float | None


def render_csv(results: Results) -> str:
    """The table. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for arm in results.arms:
        for row in (*_run_rows(arm), *_summary_rows(arm)):
            writer.writerow([_safe(cell) for cell in (results.study, arm.name, arm.method, *row, "")])
    for row in _claim_rows(results):
        writer.writerow([_safe(cell) for cell in (results.study, *row)])
    for row in _pairwise_rows(results):
        writer.writerow([_safe(cell) for cell in (results.study, *row)])
    return buffer.getvalue()


def _run_rows(arm: ArmResult) -> Iterator[tuple[_Cell, ...]]:
    for run in arm.runs:
        for quantity, decoding, value in _run_values(run):
            if value is not None:
                yield run.seed, quantity, "", decoding, value, None, None, run.directory


def _run_values(run: RunResult) -> Iterator[tuple[str, DecodingChoice | str, Number]]:
    yield from ((name, "chosen", value) for name, value in run.metrics.items())
    yield from ((name, "unit", value) for name, value in run.metrics_unit.items())
    yield from ((name, "", value) for name, value in run.spent)
    yield "temperature", "", run.temperature
    yield "checkpoint", "", run.checkpoint
    yield "diverged", "", float(run.diverged)


def _summary_rows(arm: ArmResult) -> Iterator[tuple[_Cell, ...]]:
    for item in arm.measures:
        value = item.value
        if value.estimate is not None:
            yield "all", item.metric, item.level, item.decoding, value.estimate, value.low, value.high, ""


def _claim_rows(results: Results) -> Iterator[tuple[_Cell, ...]]:
    for decided in results.claims:
        value, contrast, name = decided.value, contrast_words(decided.claim), claim_name(decided.claim)
        estimate = (value.estimate, value.low, value.high)
        yield contrast, "claim", "all", name, "", "chosen", *estimate, "", decided.outcome


def _pairwise_rows(results: Results) -> Iterator[tuple[_Cell, ...]]:
    for pair in results.pairwise:
        rate = (pair.win_rate.estimate, pair.win_rate.low, pair.win_rate.high)
        quantity = f"{pair.name}/{pair.measure.name}"
        yield f"{pair.first} against {pair.second}", "pairwise", "all", quantity, "", "chosen", *rate, "", pair.verdict


def _safe(cell: _Cell) -> _Cell:
    """Text with nothing hidden and no formula; numbers as they are."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text
