"""Problems whose tests do not test: every testbed of programs leaves them out, and `testbed verify` names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.cli import run_command
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.sandbox.judging import SandboxJudge
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.testbeds.code.certain_failure import certainly_fails
from preflab.testbeds.code.stub import FAILS_ALONE, PASSES_ALL

from .records import APPS_STDIN, HUMANEVAL, LEETCODE, MBPP

KODCODE = {
    "question_id": "sound",
    "question": "Write f.",
    "solution": "def f(x):\n    return x + 1",
    "test": "from solution import f\ndef test_a():\n    assert f(1) == 2\n",
}
EMPTY: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "kodcode": ("question_id", KODCODE, {"test": "from solution import f\ndef test_a():\n    f(1) == 2\n"}),
    "mbpp": ("task_id", MBPP, {"test_list": ["add(p, p) == 3"], "challenge_test_list": []}),
    "humaneval": ("task_id", HUMANEVAL, {"test": "def check(candidate):\n    candidate([1, 2]) == 3\n"}),
    "leetcode": ("task_id", LEETCODE, {"test": "def check(candidate):\n    candidate(node=None, k=1) is None\n"}),
    "apps": ("problem_id", APPS_STDIN, {"input_output": json.dumps({"inputs": ["1"], "outputs": ["\n"]})}),
}


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize("kind", EMPTY)
def test_a_problem_that_an_empty_program_solves_is_left_out(kind: str, tmp_path: Path) -> None:
    """Protects every data set's rewards and measures from a problem that any answer solves: it is counted and named."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    name, sound, change = EMPTY[kind]
    data = write(tmp_path / "data.jsonl", sound, {**sound, **change, name: type(sound[name])(99)})
    with TESTBEDS.parse({"kind": kind, "data": data}).open(Context()) as testbed:
        ids = [prompt.id for split in SPLITS for prompt in testbed.prompts(split)]
        [note] = [note for note in testbed.notes if "left out" in note]
    assert len(ids) == 1 and not ids[0].endswith("99")
    assert f"1 problem left out because {PASSES_ALL} (" in note and "99)" in note


def test_verify_names_what_does_not_test(tmp_path: Path) -> None:
    """Protects trust in a testbed: a right program that passes tests which every program passes shows nothing, and tests that
    fail alone are the reason why a right program does."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    empty = {**HUMANEVAL, **EMPTY["humaneval"][2], "task_id": "empty"}
    broken = {
        **HUMANEVAL,
        "test": "def check(candidate):\n    assert nowhere(candidate([1])) == 1\n",
        "task_id": "broken",
    }
    data, out = write(tmp_path / "data.jsonl", HUMANEVAL, empty, broken), tmp_path / "found.json"
    assert run_command(["testbed", "verify", "humaneval", "--data", data, "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["tests that do not test"] == {"empty": PASSES_ALL, "broken": FAILS_ALONE}
    assert report["exceptions"] == {"broken#0": ["error", FAILS_ALONE]}


def test_tests_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the start of a run: what an earlier run has shown is remembered by the tests' content, not by their names."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    doubtful = {
        **KODCODE,
        "test": "from solution import f\ndef test_a():\n    for n in range(3):\n        assert f(n) == n + 1\n",
    }
    empty = {**KODCODE, **EMPTY["kodcode"][2], "question_id": "empty"}
    for number in range(2):
        records = [{**each, "question_id": f"{each['question_id']} {number}"} for each in (doubtful, empty)]
        data = write(tmp_path / f"{number}.jsonl", *records)
        with TESTBEDS.parse({"kind": "kodcode", "data": data}).open(Context()) as testbed:
            assert [prompt.id for split in SPLITS for prompt in testbed.prompts(split)] == [f"sound {number}"]
            assert any(f"{PASSES_ALL} (empty {number})" in note for note in testbed.notes)
        monkeypatch.setattr(SandboxJudge, "_run", lambda judge, programs: [] if not programs else pytest.fail("it ran"))


def test_a_machine_without_a_sandbox_opens_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects SFT where no program can be run: the data open, and a note says what was not tried."""

    def refuse(judge: SandboxJudge, programs: Any) -> Any:
        raise UserError("There is no sandbox.")

    monkeypatch.setattr(SandboxJudge, "_run", refuse)
    data = write(tmp_path / "data.jsonl", KODCODE, {**KODCODE, **EMPTY["kodcode"][2], "question_id": "empty"})
    with TESTBEDS.parse({"kind": "kodcode", "data": data}).open(Context()) as testbed:
        assert sum(len(testbed.prompts(split)) for split in SPLITS) == 2
    assert testbed.notes == ("The tests of 1 problem were not tried on an empty program: There is no sandbox.",)


@pytest.mark.parametrize(
    ("source", "fails"),
    [
        ("assert f(1) == 2", True),
        ("assert 2 == f(1)", True),
        ("assert f(1) is True", True),
        ("assert f(1)", True),
        ("x = f(1)\ny: int = 3\nassert x == 2, 'message'", True),
        ("assert f(1)[0] == g and True", True),
        ("assert g() and f(1) == 2", True),
        ("assert f(1) == 2 or f(2) == [*f(3)]", True),
        ("assert sorted(f(1)) == g()", True),
        ("a, b = f(1)", True),
        ("f(1).append(3)", True),
        ("def test_x():\n    x = f(1)\n    assert len(x) == 2\ntest_x()", True),
        ("def check(c):\n    assert c(1) == {}\ncheck(f)", True),
        ("assert f(1) is None", False),
        ("assert f(1) == g()", False),
        ("assert f(1) != 2", False),
        ("assert not f(1)", False),
        ("assert g() or f(1) == 2", False),
        ("x = f(1)\nx = 2\nassert x == 2", False),
        ("try:\n    assert f(1) == 2\nexcept AssertionError:\n    pass", False),
        ("if g():\n    assert f(1) == 2", False),
        ("def sorted(x):\n    return 3\nassert sorted(f(1)) == 3", False),
        ("from numpy import *\nassert all(f(1)) == g()", False),
        ("f = g\nassert f(1) == 2", False),
        ("assert f(1).__class__ == g()", False),
        ("def test_x():\n    assert f(1) == 2", False),
    ],
)
def test_only_certain_failures_need_no_run(source: str, fails: bool) -> None:
    """Protects from a problem that is taken for sound without a run: only what cannot pass without values counts."""
    assert certainly_fails(source, ["f"]) is fails
