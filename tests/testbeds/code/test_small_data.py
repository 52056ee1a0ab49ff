"""Data without validation problems: they are measured at one temperature, and train without looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import run_command
from preflab.errors import UserError
from preflab.models.load import load_model
from preflab.models.spec import ModelSpec
from preflab.sandbox.bubblewrap import explain_absence

from .records import CONTEST, HUMANEVAL


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_data_that_hold_test_problems_alone_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects HumanEval, which has no validation problems: one temperature needs none, two are refused; and the evaluator
    that programs have by nature."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    data = write(tmp_path / "data.jsonl", HUMANEVAL)
    load_model(ModelSpec(name="tiny"), seed=0).save(tmp_path / "policy")
    words = ["evaluate", str(tmp_path / "policy"), "--testbed", "humaneval", "--data", data]
    words += ["--output", str(tmp_path / "run"), "--max-new-tokens", "4", "--samples", "2", "--k", "1", "2"]
    assert run_command([*words, "--temperatures", ".2"]) == 0
    assert "temperature 0.2: pass@1 0.000" in (said := capsys.readouterr().out) and "pass@2 0.000" in said
    with pytest.raises(UserError, match="humaneval has no validation problems"):
        run_command([*words, "--fresh", "--temperatures", ".2", "1"])


def test_a_method_trains_without_validation_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects small data: without validation problems training looks at none (it ended in a traceback); what cannot be
    measured is refused before anything is trained."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", CONTEST)
    words = ["train", "sft", "--model", "tiny", "--testbed", "code_contests", "--data", str(tmp_path / "data")]
    words += [
        "--epochs",
        "1",
        "--samples",
        "2",
        "--k",
        "1",
        "2",
        "--max-new-tokens",
        "4",
        "--output",
        str(tmp_path / "run"),
    ]
    with pytest.raises(UserError, match="code_contests has no test problems"):
        run_command(words)
    write(tmp_path / "data" / "test.jsonl", CONTEST | {"name": "1_B. Sum"})
    with pytest.raises(UserError, match="code_contests has no validation problems"):
        run_command([*words, "--fresh", "--temperatures", ".2", "1"])
    capsys.readouterr()
    assert run_command([*words, "--fresh", "--temperatures", ".2"]) == 0
    assert "pass@2" in capsys.readouterr().out and (tmp_path / "run" / "final").is_dir()
