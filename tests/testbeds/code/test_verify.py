"""`preflab testbed verify`: a data set's own programs, judged by its own tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import run_command
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.code.evidence import EITHER_CASE, EVIDENCE_FIELD, SHOWN

from .records import CONTEST, HUMANEVAL


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects trust in a testbed: its programs are judged with and without walls; one that fails needs a reason, given by the
    statement or by the user; wrong ones are judged too; no text of the data is written."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    bad = {**CONTEST, "name": "bad", "solutions": {"language": [3], "solution": ["print(0)"]}}
    several = {**bad, "name": "several", "description": "Print any of them."}
    breaks = {**several, "name": "breaks", "solutions": {"language": [3], "solution": ["1 / 0"]}}
    lucky = {**CONTEST, "name": "lucky", "incorrect_solutions": CONTEST["solutions"]}
    by_file = {**breaks, "name": "by file", "input_file": "input.txt"}
    data = write(tmp_path / "data.jsonl", CONTEST, bad, several, breaks, lucky, by_file)
    out = tmp_path / "found.json"
    verify = ["testbed", "verify", "code_contests", "--data", data, "--compare", "--out", str(out)]
    assert run_command(verify) == 1
    printed = capsys.readouterr().out
    assert "bad#0: failed; NO REASON KNOWN" in printed
    assert "breaks#0: runtime-error; NO REASON KNOWN" in printed  # several answers explain a wrong one alone
    reasons = tmp_path / "reasons.json"
    reasons.write_text('{"bad": "its solution is wrong", "breaks": "it divides by 0"}')
    assert run_command([*verify, "--reasons", str(reasons)]) == 0
    report = json.loads(out.read_text())
    assert report["right programs"] == {"passed": 2, "failed": 2, "runtime-error": 2}
    assert report["wrong programs"] == {"failed": 5, "passed": 1}
    assert report["wrong programs that pass"] == ["lucky#0"]
    assert report["exceptions"]["bad#0"] == ["failed", "its solution is wrong"]
    assert "several answers" in report["exceptions"]["several#0"][1]
    assert "a named file" in report["exceptions"]["by file#0"][1]
    assert report["compared without walls"] == 6 and report["differ without walls"] == {}
    assert "print" not in out.read_text()


def test_right_programs_that_differ_show_what_the_statement_does_not_say(tmp_path: Path) -> None:
    """Protects right answers from reward 0: where two right programs give different answers, the problem is left out; where
    they differ in case alone, it is judged in any case. One right program that fails alone, or breaks, shows neither."""
    require_feature("sandbox", not explain_absence(), explain_absence())

    def contest(name: str, *solutions: str, outputs: str = "3\n") -> dict[str, Any]:
        programs = {"language": [3] * len(solutions), "solution": list(solutions)}
        tests = {
            "private_tests": {"input": ["1 2\n"], "output": [outputs]},
            "generated_tests": None,
            "public_tests": None,
        }
        return {**CONTEST, **tests, "name": name, "solutions": programs}

    records = (
        contest("same", "print(3)", "print(1 + 2)"),
        contest("differ", "print(3)", "print(4)"),
        contest("alone", "print(4)"),
        contest("breaks", "print(3)", "1 / 0"),
        contest("case", "print('Yes')", "print('YES')", outputs="YES\n"),
    )
    data, out = write(tmp_path / "data.jsonl", *records), tmp_path / "found.json"
    verify = ["testbed", "verify", "code_contests", "--data", data, "--programs", "2", "--out", str(out)]
    assert run_command(verify) == 1
    assert json.loads(out.read_text())[EVIDENCE_FIELD] == {"differ": SHOWN, "case": EITHER_CASE}
    spec = TESTBEDS.parse({"kind": "code_contests", "data": data, "evidence": str(out)})
    exercises = {each.name: each for each in spec.read_exercises()}
    assert {name: each.unjudged for name, each in exercises.items() if each.unjudged} == {"differ": SHOWN}
    with spec.open(Context()) as testbed:
        assert any(f"1 problem left out because {SHOWN} (differ)" in note for note in testbed.notes)
        [verdict] = testbed.judge([("print('yes')", exercises["case"].hidden)])
        assert verdict.correct
    with spec.model_copy(update={"several": "keep"}).open(Context()) as testbed:
        assert any("1 problem kept, although several answers are right" in note for note in testbed.notes)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"shown by right programs": 3}', '{"shown by right programs": {"a": "b"}}']
)
def test_evidence_of_another_kind_is_refused(content: str, tmp_path: Path) -> None:
    """Protects the user: the field and the file."""
    (tmp_path / "found.json").write_text(content)
    spec = {"kind": "humaneval", "data": write(tmp_path / "data.jsonl", HUMANEVAL)}
    with pytest.raises(
        UserError, match=r"`evidence`: .*found.json is not a file that `preflab testbed verify --out` wrote"
    ):
        list(TESTBEDS.parse({**spec, "evidence": str(tmp_path / "found.json")}).read_exercises())


def test_verify_needs_programs() -> None:
    """Protects the user: a testbed of another kind, and a name that is none."""
    with pytest.raises(UserError, match="minicode has no programs"):
        run_command(["testbed", "verify", "minicode"])
    with pytest.raises(UserError, match=r"humanevall.*humaneval"):
        run_command(["testbed", "verify", "humanevall"])


def test_verify_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """Protects from a check of nothing, and from hours that are lost at the end."""
    (tmp_path / "list.json").write_text("[]")
    data = write(tmp_path / "data.jsonl", HUMANEVAL)
    for words, said in (
        (["--programs", "0"], "--programs must be 1 or more, not 0"),
        (["--workers", "-3"], "--workers must be 0 .one worker per core. or more, not -3"),
        (["--reasons", str(tmp_path / "none.json")], "cannot be read"),
        (["--reasons", str(tmp_path / "list.json")], "must contain one JSON object"),
        (["--out", str(tmp_path)], "is a folder"),
    ):
        with pytest.raises(UserError, match=said):
            run_command(["testbed", "verify", "humaneval", "--data", data, *words])
