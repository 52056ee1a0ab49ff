"""`preflab judge`: files in, exactly one line a program out, whatever happens."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command as command
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import Bubblewrap

PROBLEM = {
    "problem_id": "sum",
    "mode": "stdin",
    "entry_point": None,
    "public_tests": [{"input": "1 2", "output": "3"}],
    "hidden_tests": [{"input": "2 2", "output": "4"}],
    "time_limit_s": 2,
    "memory_limit_mb": 256,
}
CALL: dict[str, Any] = {
    "mode": "call",
    "entry_point": "f",
    "public_tests": [{"args": [1], "expected": 1}],
    "hidden_tests": [],
}
DEEP: list[Any] = []
for _ in range(250):
    DEEP = [DEEP]
RIGHT, WRONG = "print(sum(map(int, input().split())))", "print(3)"


def lines(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def judge(
    folder: Path, programs: Sequence[Any], problems: Sequence[Any] = (PROBLEM,)
) -> tuple[int, list[dict[str, Any]]]:
    out = folder / "out" / "verdicts.jsonl"
    code = command(
        ["judge", "--problems", str(lines(folder / "problems.jsonl", problems))]
        + ["--programs", str(lines(folder / "programs.jsonl", programs)), "--out", str(out), "--workers", "2"]
    )
    return code, [json.loads(line) for line in out.read_text().splitlines()]


def program(name: str, source: str, problem: str = "sum") -> dict[str, str]:
    return {"program_id": name, "problem_id": problem, "source": source}


def test_a_line_for_each_program(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects the count: one line each, with verdict, tests passed and the first failing test."""
    code, rows = judge(tmp_path, [program(f"p{n}", RIGHT if n % 3 else WRONG) for n in range(12)])
    assert code == 0 and sorted(record["program_id"] for record in rows) == sorted(f"p{n}" for n in range(12))
    by_name = {record["program_id"]: record for record in rows}
    assert by_name["p1"] == {
        "program_id": "p1",
        "verdict": "passed",
        "passed": 2,
        "tests": 2,
        "digest": by_name["p4"]["digest"],
        "detail": {},
    }
    assert by_name["p0"]["verdict"] == "failed" and by_name["p0"]["passed"] == 1
    assert by_name["p0"]["detail"] == {"test": 1, "input": "2 2", "expected": "4", "got": "3\n"}


def test_it_goes_on_where_it_stopped(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects a judge that was killed in the middle of a line: what is there stays, the half line goes, the rest is judged."""
    out = tmp_path / "out" / "verdicts.jsonl"
    out.parent.mkdir()
    out.write_text('{"program_id": "a", "verdict": "kept"}\n{"program_id": "b", "verd')
    code, rows = judge(tmp_path, [program("a", WRONG), program("b", RIGHT), program("c", RIGHT)])
    assert code == 0 and {record["program_id"]: record["verdict"] for record in rows} == {
        "a": "kept",
        "b": "passed",
        "c": "passed",
    }


@pytest.mark.parametrize(
    ("problem", "programs", "said"),
    [
        ({"mode": "shell"}, [], r"problems.jsonl:1: `mode` is 'shell'; it must be stdin or call"),
        ({"mode": "call"}, [], r"`entry_point` must be text"),
        ({"public_tests": [], "hidden_tests": []}, [], "there are no tests, so every program would pass"),
        ({"public_tests": [{"input": "1"}]}, [], r"`public_tests` 0 needs `input` and `output`"),
        ({"public_tests": [{"input": 1, "output": "1"}]}, [], r"`input` must be text"),
        ({"time_limit_s": 0}, [], r"`time_limit_s` must be a number above 0"),
        ({"memory_limit_mb": True}, [], r"`memory_limit_mb` must be a number above 0"),
        ({}, [program("a", WRONG, "nowhere")], r"programs.jsonl:1: there is no problem 'nowhere'"),
        ({}, [program("a", WRONG), program("a", RIGHT)], r"programs.jsonl:2: the program 'a' occurs twice"),
        ({}, [{"program_id": "a", "problem_id": "sum"}], r"`source` must be text"),
        ({"hidden_tests": 7}, [], r"`hidden_tests` must be a list"),
        ({"public_tests": [{"input": "\ud800", "output": "1"}]}, [], r"`public_tests` 0 cannot be sent to a program"),
        ({"compare": "words"}, [], r"`compare` is 'words'; it must be one of lines, tokens"),
        ({"special": 3}, [], r"`special` must be text"),
        ({"special": "x", "compare": "exact"}, [], r"`special` replaces `compare`"),
        ({"memory_limit_mb": 0.5}, [], r"`memory_limit_mb` must be 1 or more"),
        ({**CALL, "compare": "exact"}, [], "compare printed text"),
        (
            {**CALL, "public_tests": [{"args": [DEEP], "expected": 1}]},
            [],
            r"`public_tests` 0 cannot be sent to a program",
        ),
    ],
)
def test_bad_files_are_refused_before_anything_runs(
    problem: dict[str, Any], programs: list[Any], said: str, tmp_path: Path
) -> None:
    """Protects the user's time: file, line and field are named, and nothing has been judged."""
    with pytest.raises(UserError, match=said):
        judge(tmp_path, programs or [program("a", RIGHT)], [PROBLEM | problem])
    assert not (tmp_path / "out").exists()


def test_other_things_than_verdicts_are_not_overwritten(tmp_path: Path) -> None:
    """Protects a file that was named by mistake."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "verdicts.jsonl").write_text("my notes\n")
    with pytest.raises(UserError, match="is not a verdict: it is not JSON"):
        judge(tmp_path, [program("a", RIGHT)])
    assert (tmp_path / "out" / "verdicts.jsonl").read_text() == "my notes\n"


def test_errors_and_changed_programs_are_judged_again(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects a second run from the first one's: a program that was changed gets a new verdict, one that could not be judged
    another try; the others keep their lines, and each program has one."""
    _, first = judge(tmp_path, [program("a", RIGHT), program("b", WRONG), program("c", RIGHT)])
    out = tmp_path / "out" / "verdicts.jsonl"
    lines(out, [row | ({"verdict": "error"} if row["program_id"] == "c" else {}) for row in first])
    out.write_text(out.read_text() + "\n")  # a blank line is nobody's
    code, rows = judge(tmp_path, [program("a", RIGHT), program("b", RIGHT), program("c", RIGHT)])
    assert code == 0 and sorted((row["program_id"], row["verdict"]) for row in rows) == [
        (name, "passed") for name in "abc"
    ]


def test_a_changed_problem_is_judged_again(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects who mends a test from the verdicts of the old one."""
    judge(tmp_path, [program("a", RIGHT)])
    mended = PROBLEM | {"hidden_tests": [{"input": "2 2", "output": "5"}]}
    _, rows = judge(tmp_path, [program("a", RIGHT)], [mended])
    assert [row["verdict"] for row in rows] == ["failed"]


def test_what_is_read_is_not_written(tmp_path: Path) -> None:
    """Protects the programs: a file of a single line without an end looked like a verdict that was cut off."""
    path = tmp_path / "programs.jsonl"
    path.write_text(json.dumps(program("a", RIGHT)))
    problems = lines(tmp_path / "problems.jsonl", [PROBLEM])
    for out, said in (
        (path, "is also an input file"),
        (problems, "is also an input file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UserError, match=said):
            command(["judge", "--problems", str(problems), "--programs", str(path), "--out", str(out)])
    os.mkfifo(tmp_path / "pipe")  # as `<(...)` of a shell
    with pytest.raises(UserError, match="is not a plain file"):
        command(
            ["judge", "--problems", str(problems), "--programs", str(tmp_path / "pipe"), "--out", str(tmp_path / "o")]
        )
    (tmp_path / "notes").write_text("my notes")
    with pytest.raises(UserError, match="is not a verdict"):
        command(["judge", "--problems", str(problems), "--programs", str(path), "--out", str(tmp_path / "notes")])
    with pytest.raises(UserError, match="cannot be written"):
        command(["judge", "--problems", str(problems), "--programs", str(path), "--out", "/proc/none/out"])
    assert path.read_text() == json.dumps(program("a", RIGHT)) and (tmp_path / "notes").read_text() == "my notes"


def test_comparison_and_a_judge_of_the_problems_own(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects `compare` and `special` in a file: blanks that `lines` counts and `tokens` does not; any order that a program of
    the problem's accepts."""
    special = (
        "import json, sys\ncase = json.load(sys.stdin)\n"
        "print('right' if sorted(case['output'].split()) == sorted(case['expected'].split()) else 'wrong')"
    )
    tests = {"public_tests": [{"input": "", "output": "1 2"}], "hidden_tests": []}
    ways: dict[str, dict[str, Any]] = {"lines": {}, "tokens": {"compare": "tokens"}, "any": {"special": special}}
    problems = [PROBLEM | tests | {"problem_id": name} | way for name, way in ways.items()]
    programs = [program(f"{name} {text}", f"print({text!r})", name) for name in ways for text in ("1  2", "2 1")]
    _, rows = judge(tmp_path, programs, problems)
    passed = {row["program_id"] for row in rows if row["verdict"] == "passed"}
    assert passed == {"tokens 1  2", "any 1  2", "any 2 1"}


def test_blank_lines_at_the_end_do_not_count_however_many(walls: Bubblewrap, tmp_path: Path) -> None:
    """Protects a rule from another: who prints far more than expected is wrong without being read; blank lines are not more."""
    code, rows = judge(tmp_path, [program("a", "print(sum(map(int, input().split())), end='\\n' * 40000)")])
    assert code == 0 and rows[0]["verdict"] == "passed"
