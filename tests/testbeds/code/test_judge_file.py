"""`preflab judge` on the data sets' own records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import run_command
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence

from .records import APPS, CONTEST, HUMANEVAL, LEETCODE, MBPP, SUM


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_judge_takes_the_data_sets_records(tmp_path: Path) -> None:
    """Protects the command: records of any data set as problems, answers as a model gives them as programs."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    problems = write(tmp_path / "problems.jsonl", APPS, CONTEST, HUMANEVAL, LEETCODE, MBPP)
    answers = {
        "4001": json.loads(APPS["solutions"])[0],
        "1_A. Sum": f"```python\n{SUM}```",
        "HumanEval/900": "    return sum(xs)\n\nDone.",
        "merge-it": f"It is easy.\n```python\n{LEETCODE['completion']}```",
        "mbpp/11": MBPP["code"],
    }
    rows = [{"program_id": name, "problem_id": name, "source": text} for name, text in answers.items()]
    programs = write(tmp_path / "programs.jsonl", *rows, {"program_id": "no", "problem_id": "mbpp/11", "source": "x"})
    out = tmp_path / "out.jsonl"
    assert run_command(["judge", "--problems", problems, "--programs", programs, "--out", str(out)]) == 0
    verdicts = {row["program_id"]: row["verdict"] for row in map(json.loads, out.read_text().splitlines())}
    assert verdicts == {**dict.fromkeys(answers, "passed"), "no": "runtime-error"}


def test_judge_marks_what_cannot_be_judged(tmp_path: Path) -> None:
    """Protects a whole file from one problem without a judge: its programs are marked with the reason; the status says so."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    several = {**CONTEST, "name": "several", "description": "Print any of them."}
    problems = write(tmp_path / "problems.jsonl", CONTEST, several)
    rows = [{"program_id": name, "problem_id": name, "source": SUM} for name in (CONTEST["name"], "several")]
    programs, out = write(tmp_path / "programs.jsonl", *rows), tmp_path / "out.jsonl"
    assert run_command(["judge", "--problems", problems, "--programs", programs, "--out", str(out)]) == 1
    rows = {row["program_id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert rows[CONTEST["name"]]["verdict"] == "passed" and rows["several"]["verdict"] == "error"
    assert "several answers are right" in rows["several"]["detail"]["got"]


def test_judge_names_records_of_no_data_set(tmp_path: Path) -> None:
    """Protects the user: file, line, and what would be taken."""
    problems = write(tmp_path / "problems.jsonl", {"question": "?"})
    with pytest.raises(UserError, match=r"problems.jsonl:1: the record has neither the form of `preflab judge`"):
        run_command(["judge", "--problems", problems, "--programs", problems, "--out", str(tmp_path / "out")])
