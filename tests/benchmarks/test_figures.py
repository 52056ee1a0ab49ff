"""The figures that stand for repetitions, and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.figures import figure_of, read_figures, side_figure
from benchmarks.measure import require_agreement
from benchmarks.page import PAGE, render
from benchmarks.rows import rows_named

MACHINE: dict[str, Any] = {}


def side(*seconds: float, cpu: float | None = None, memory: int = 100) -> dict[str, Any]:
    """A side whose repetitions took these seconds for 100 tokens."""
    done = [{"seconds": each, "cpu": each if cpu is None else cpu, "work": 100} for each in seconds]
    return {"repetitions": done, "memory": memory}


def result(ours: dict[str, Any], peer: dict[str, Any], ceiling: dict[str, Any]) -> dict[str, Any]:
    sides = {"preflab": ours, "trl-1.16.0, default": peer, "parts": ceiling}
    return {"row": "dpo", "threads": 1, "peer": "trl-1.16.0, default", "ceilings": ["parts"], "sides": sides}


def test_the_fastest_quarter_of_the_steady_repetitions_counts() -> None:
    """Protects the rate from the machine's other work: slow repetitions, and those that had half a core, do not count."""
    quick = {"seconds": 0.5, "cpu": 0.25, "work": 100}  # had half a core: not to be trusted
    steady = side(1.0, 2.0, 4.0, 4.0, 4.0)
    figure = side_figure(steady | {"repetitions": [*steady["repetitions"], quick]}, threads=1)
    assert figure.rates["wall"] == pytest.approx((100 + 50) / 2)
    assert figure.share == 1.0


def test_cpu_seconds_decide_where_a_core_was_never_alone() -> None:
    """Protects a ratio on a busy machine: one thread that shared its core is compared by CPU seconds."""
    (row,) = rows_named(["dpo"])
    figure = figure_of(row, result(side(4.0, cpu=1.0), side(2.0), side(1.0)), MACHINE)
    assert figure.clock == "cpu" and figure.value == pytest.approx(2.0)
    assert figure.ratio is not None and figure.ratio["wall"] == pytest.approx(0.5)


def test_a_goal_above_the_ceiling_gives_way() -> None:
    """Protects from goals that the machine does not allow: .9 of the ceiling is enough, and less is not."""
    (row,) = rows_named(["dpo"])
    near = figure_of(row, result(side(1.0, memory=40), side(1.5), side(0.95)), MACHINE)
    assert near.value < row.goal and near.goal == pytest.approx(0.9 * 1.5 / 0.95) and near.reached
    far = figure_of(row, result(side(1.0, memory=40), side(1.5), side(0.5)), MACHINE)
    assert far.goal == row.goal and not far.reached


def test_memory_has_its_goal() -> None:
    """Protects the peak memory: it is compared with the peer's."""
    (row,) = rows_named(["dpo"])
    assert not figure_of(row, result(side(1.0, memory=50), side(2.0), side(1.0)), MACHINE).memory_reached
    assert figure_of(row, result(side(1.0, memory=45), side(2.0), side(1.0)), MACHINE).memory_reached


def test_sides_that_compute_something_else_are_not_compared() -> None:
    """Protects every ratio: losses that differ give no result."""
    require_agreement({"preflab": [0.5, 0.25], "trl": [0.50001, 0.25]}, 1e-4)
    with pytest.raises(RuntimeError, match="trl does not compute what preflab computes"):
        require_agreement({"preflab": [0.5, 0.25], "trl": [0.5, 0.2501]}, 1e-4)
    with pytest.raises(RuntimeError):
        require_agreement({"preflab": [float("nan")], "trl": [0.5]}, 1e-4)


def test_the_newest_result_of_a_row_counts(tmp_path: Path) -> None:
    """Protects the page from old results, whatever rows a later run measured."""
    for name, seconds in (("1", 4.0), ("2", 2.0)):
        run = {"machine": MACHINE, "results": [result(side(seconds), side(4.0), side(1.0))]}
        (tmp_path / f"bench-{name}.json").write_text(json.dumps(run))
    (figure,) = read_figures(tmp_path)
    assert figure.value == pytest.approx(2.0)


def test_the_page_is_that_of_the_results() -> None:
    """Protects docs/performance.md: it says what the committed results say."""
    assert PAGE.read_text(encoding="utf-8") == render(read_figures()), "run `python -m benchmarks.page`"
