"""Whole rows at a small size: every side starts, computes what preflab computes, and gives a figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.check import verdict
from benchmarks.figures import figure_of
from benchmarks.measure import measure_row
from benchmarks.rows import ROWS, Row

SMALL = {"vocabulary": 64, "width": 32, "layers": 2, "heads": 2, "prompt": 12, "answer": 8, "train": 32}


def small(row: Row) -> Row:
    size = {name: SMALL.get(name, value) for name, value in row.size.items()}
    return replace(row, size=size | ({"prompts": 8} if "prompts" in size else {}))


BUILT = [small(row) for row in ROWS if not row.unbuilt and row.precision == "fp32"]


def measure(row: Row, place: Path) -> None:
    result = measure_row(row, 1, 3, place)
    figure = figure_of(row, result, {})
    assert row.name in verdict(figure)
    counts = {name: len(side["repetitions"]) for name, side in result["sides"].items()}
    assert counts.pop(result["peer"] or "preflab") == 3
    assert all(counts[name] == 3 for name in row.ceilings)
    assert all(counts.get(f"{row.peer}, {plan}", 2) == 2 for plan in row.plans)  # the plans that were not the best


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [row for row in BUILT if not (row.peer or "").startswith("trl")], ids=lambda row: row.name
)
def test_rows_without_trl(row: Row, tmp_path: Path) -> None:
    """Protects the rows whose sides all run in this environment."""
    measure(row, tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize("row", [row for row in BUILT if (row.peer or "").startswith("trl")], ids=lambda row: row.name)
def test_rows_beside_trl(row: Row, tmp_path: Path) -> None:
    """Protects the rows beside TRL: its trainers still start, and give the losses, or the log-probabilities, of preflab."""
    measure(row, tmp_path)
