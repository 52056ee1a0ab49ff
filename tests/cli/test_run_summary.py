"""The lines that `train` and `evaluate` print about a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.written import evaluated, written

from preflab.arm.result import MeasuredResult
from preflab.cli.run_summary import summarize_run


def result(temperature: float, score: float, first: float) -> MeasuredResult:
    measures = {"score": score, "length": 5.0, "pass@1": first}
    return MeasuredResult(**written(evaluation=evaluated(measures, temperature=temperature)))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (result(1.0, 0.5, 0.5), ["  temperature 1: pass@1 0.500  length 5.000"]),
        (
            result(0.2, 0.5, 0.5),
            ["  temperature 0.2: pass@1 0.500  length 5.000", "  temperature 1: pass@1 0.500  length 5.000"],
        ),
        (result(1.0, 0.5, 0.25), ["  temperature 1: score 0.500  length 5.000  pass@1 0.250"]),
    ],
)
def test_each_number_is_printed_once(data: MeasuredResult, lines: list[str]) -> None:
    """Protects from a second line for one temperature, and from a score under two names; different numbers stay."""
    assert summarize_run(data, Path("run"), "pass@1").splitlines()[1:] == lines
