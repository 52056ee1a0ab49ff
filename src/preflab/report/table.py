"""Writes `results.csv`, a table in long form with one number in each row, for a spreadsheet or a data frame.

The columns are study, arm, method, seed ('all' for an estimate over seeds), quantity, level (the difficulty level; '' for
all problems), decoding, value, low, high, directory and outcome. The column `decoding` is 'chosen' for the chosen
temperature, 'unit' for temperature 1, and '' if the quantity does not depend on the temperature.

A row with one seed contains a metric of a run, or an amount of the budget that the run used. A row with the seed 'all'
contains an estimate with its interval. The row of a claim contains the claim's weighted sum of arms in the column `arm`,
'claim' in `method`, the claim's name in `quantity`, and the outcome. The rows of a pairwise evaluation contain the names of
the two arms in the column `arm` and 'pairwise' in `method`: one row for the win rate, with the verdict in `outcome`, one for
each share (win, tie, loss), and one for the length-controlled win rate.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from preflab.analysis.record import ArmResult, Interval, PairwiseResult, Results
from preflab.report.claims import name_claim, write_contrast
from preflab.text import visible

COLUMNS = (
    *("study", "arm", "method", "seed", "quantity", "level", "decoding", "value", "low", "high", "directory"),
    "outcome",
)
_Cell = str | int | float | None


def render_csv(results: Results) -> str:
    """Returns the table as CSV text. If a spreadsheet would run a text as a formula, the function adds an apostrophe in
    front of the text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_safe(cell) for cell in (results.study, *row)] for row in _rows(results))
    return buffer.getvalue()


def _rows(results: Results) -> Iterator[tuple[_Cell, ...]]:
    for arm in results.arms:
        for row in (*_run_rows(arm), *_summary_rows(arm)):
            yield arm.name, arm.method, *row, ""
    for decided in results.claims:
        contrast, name = write_contrast(decided.claim.contrast), name_claim(decided.claim)
        yield contrast, "claim", "all", name, "", decided.decoding, *_ends(decided.value), "", decided.outcome
    for pair in results.pairwise:
        for quantity, value in _pairwise_quantities(pair):
            names, outcome = f"{pair.first} against {pair.second}", pair.verdict if value is pair.win_rate else ""
            yield names, "pairwise", "all", f"{pair.name}/{quantity}", "", "chosen", *_ends(value), "", outcome


def _pairwise_quantities(pair: PairwiseResult) -> Iterator[tuple[str, Interval]]:
    yield pair.measure.name, pair.win_rate
    yield from pair.shares.items()
    if pair.length is not None and pair.length.rate is not None:
        yield "length-controlled win rate", pair.length.rate


def _run_rows(arm: ArmResult) -> Iterator[tuple[_Cell, ...]]:
    for run in arm.runs:
        values = [(name, "chosen", value) for name, value in run.metrics.items()]
        values += [(name, "unit", value) for name, value in run.metrics_unit.items()]
        values += [(name, "", value) for name, value in run.spent]
        values += [("temperature", "", run.temperature), ("checkpoint", "", run.checkpoint)]
        values += [("diverged", "", float(run.diverged))]
        for quantity, decoding, value in values:
            if value is not None:
                yield run.seed, quantity, "", decoding, value, None, None, run.directory


def _summary_rows(arm: ArmResult) -> Iterator[tuple[_Cell, ...]]:
    for item in arm.measures:
        if item.value.estimate is not None:
            yield "all", item.metric, item.level, item.decoding, *_ends(item.value), ""


def _ends(value: Interval) -> tuple[_Cell, ...]:
    return value.estimate, value.low, value.high


def _safe(cell: _Cell) -> _Cell:
    """Makes hidden characters in a text visible. If a spreadsheet would run the text as a formula, adds an apostrophe in
    front of it. Returns numbers unchanged."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")) else text
