"""The record of a study's findings: it survives a round trip and refuses what would mislead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pydantic
import pytest

from preflab.analysis.record import Interval, Results, dump_results, known_measure, read_results
from preflab.errors import UserError


def test_round_trip(results: Results, tmp_path: Path) -> None:
    """What is written to results.json is what is read back, byte for byte."""
    path = tmp_path / "results.json"
    path.write_text(dump_results(results), encoding="utf-8")
    again = read_results(path)
    assert again == results
    assert dump_results(again) == dump_results(results)


def test_numbers_that_are_not_finite_become_unknown() -> None:
    """A diverged run's NaN must neither break the file (JSON has no NaN) nor pass for a number."""
    assert Interval(estimate=float("nan"), low=float("-inf"), high=1) == Interval(estimate=None, low=None, high=1)


def test_unknown_key_at_depth_is_refused_with_its_place(results: Results, tmp_path: Path) -> None:
    """A results.json from elsewhere, or edited by hand, is not read half."""
    data = json.loads(dump_results(results))
    data["verdict"]["winer"] = "ppo"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"results\.json.*verdict\.winer"):
        read_results(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_damaged_file(content: str, tmp_path: Path) -> None:
    """A damaged or missing file is reported to the user without a traceback."""
    path = tmp_path / "results.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"results\.json"):
        read_results(path)
    with pytest.raises(UserError, match="Finish the study"):
        read_results(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "change", [{"headline": "pass@7"}, {"verdict": {"sentence": "x", "winner": "grpo"}}, {"arms": "twice"}]
)
def test_names_must_exist_and_be_unique(results: Results, change: dict[str, object]) -> None:
    """A verdict for an arm that is not there, a headline that was not measured, two arms of one name."""
    data = results.model_dump(mode="json")
    data |= {"arms": data["arms"] * 2} if change.get("arms") else change
    with pytest.raises(pydantic.ValidationError):
        Results.model_validate(data)


def test_known_metrics() -> None:
    """Families by prefix; an unknown name is its own label and has no direction."""
    assert known_measure("pass@10").better == "higher" and known_measure("pass@10").share
    assert known_measure("10@1000").better == "higher" and known_measure("10@1000").share
    assert known_measure("kl", note="k3").note == "k3"
    assert known_measure("win rate").label == "win rate" and known_measure("win rate").better == "neither"


def test_documentation_is_current(repository: Path, script: Callable[[str], ModuleType]) -> None:
    """docs/results-schema.md is generated from the records' docstrings, every field is described, and each row of its
    tables is one line of three cells."""
    written = (repository / "docs" / "results-schema.md").read_text(encoding="utf-8")
    renewed = script("results_schema").schema_markdown()
    assert written == renewed, "renew it: python scripts/results_schema.py > docs/results-schema.md"
    assert not [line for line in written.splitlines() if line.endswith("|  |")]
    tables = [block for block in written.split("\n\n") if block.startswith("| Field |")]
    rows = [line for block in tables for line in block.splitlines()]
    assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != 4] == []
