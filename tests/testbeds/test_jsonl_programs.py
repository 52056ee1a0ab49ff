"""Testbed `jsonl` with `judge: sandbox`: answers to the user's own problems run as programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.sandbox.judging import SandboxJudge
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import SPLITS
from preflab.types import Problem

from .code.records import SUM


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_your_own_problems_in_the_sandbox(tmp_path: Path) -> None:
    """Protects `judge: sandbox`: answers to the user's own problems run as programs; tests that are no text are named."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    rows: list[dict[str, Any]] = [
        {"prompt": f"Add, {n}.", "tests": [{"input": "1 2", "output": "3"}]} for n in range(40)
    ]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem)
        verdicts = testbed.judge([(text, problem.hidden_tests) for text in (f"```python\n{SUM}```", "print(4)")])
        assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]
    for given, complaint in (
        (1, r"mine\.jsonl:3: .*the `input` of a test .* must be text.* contains 1"),
        ("\ud83d", r"mine\.jsonl:3: a test of the problem .* half a surrogate"),
    ):
        rows[2]["tests"] = [{"input": given, "output": "2"}]
        spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
        with pytest.raises(UserError, match=complaint), spec.open(Context()):
            pass


def test_your_own_comparison_and_judge(tmp_path: Path) -> None:
    """Protects `compare` and `special` of your own data: blanks that `lines` counts and `tokens` does not, and any order that a
    problem's own program accepts; where nothing runs programs, such a program is refused."""
    special = (
        "import json, sys\ncase = json.load(sys.stdin)\n"
        "print('right' if sorted(case['output'].split()) == sorted(case['expected'].split()) else 'wrong')"
    )
    tests = [{"input": "", "output": "1 2"}]
    plain = {"prompt": "one and two", "tests": tests}
    data = tmp_path / "mine.jsonl"

    def passes(record: dict[str, Any], text: str, *, raw: bool = False, **settings: Any) -> bool:
        data.write_text("".join(json.dumps(record | {"prompt": f"{record['prompt']} {n}"}) + "\n" for n in range(30)))
        spec = TESTBEDS.parse({"kind": "jsonl", "data": str(data), "judge": "sandbox", **settings})
        with spec.open(Context()) as testbed:
            problem = testbed.prompts("train")[0]
            return testbed.judge([(text if raw else f"print({text!r})", problem.hidden_tests)])[0].correct

    assert not passes(plain, "1  2") and passes(plain, "1  2", compare="tokens")
    assert not passes(plain, "2 1", compare="tokens") and passes(plain | {"special": special}, "2 1")
    slow = "for _ in range(40_000_000): pass\nprint(1, 2)"
    assert not passes(plain, slow, raw=True, time_limit_s=0.2)
    with pytest.raises(UserError, match="`time_limit_s` is a setting for programs and needs `judge: sandbox`"):
        passes(plain, "1 2", judge="builtins:all", time_limit_s=1.0)
    with pytest.raises(UserError, match="a judge program in the field `special` needs the setting `judge: sandbox`"):
        passes(plain | {"special": special}, "2 1", judge="builtins:all")


_RAISES = "its tests expect exceptions, which do not reach the tests"
_OBJECTS = "its tests use objects of the program's classes, which do not reach the tests"
RIGHT, WRONG = "def f(x):\n    return x + 1", "def f(x):\n    return -7"
DEFINED_ONLY: dict[str, dict[str, Any]] = {
    "a test function": {"tests": "def test_x():\n    assert f(1) == 2"},
    "test functions in a list": {"tests": ["def test_x():\n    assert f(1) == 2"]},
    "check": {"entry_point": "f", "tests": "def check(candidate):\n    assert candidate(1) == 2"},
    "a class of unittest": {
        "tests": "import unittest\nclass Base(unittest.TestCase):\n    def setUp(self):\n        self.two = 2\n"
        "class T(Base):\n    def test_a(self):\n        self.assertEqual(f(1), self.two)"
    },
    "a class of pytest": {
        "tests": "class TestF:\n    def setup_method(self, method):\n        self.two = 2\n"
        "    def test_a(self):\n        assert f(1) == self.two"
    },
    "a main block": {"tests": "if __name__ == '__main__':\n    assert f(1) == 2"},
    "a main block with a runner": {
        "tests": "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(1), 2)\n"
        "if __name__ == '__main__':\n    unittest.main()"
    },
    "a check that is called": {"tests": "def check(c):\n    assert c(1) == 2\ncheck(f)"},
    "a function that is given": {"tests": ["assert list(map(f, [1, 2])) == [2, 3]"]},
    "another name": {"tests": ["from solution import f as g\nassert g(1) == 2"]},
    "the name of the tests": {"entry_point": "f", "tests": ["assert candidate(1) == 2"]},
    "an import in the test": {"tests": ["def test_x():\n    from solution import f\n    assert f(1) == 2"]},
    "an exception that fails the test": {
        "tests": ["try:\n    assert f(1) == 2\nexcept Exception as error:\n    raise AssertionError from error"]
    },
    "a helper beside it": {"tests": "def check(got, want):\n    assert got == want\ndef test_x():\n    check(f(1), 2)"},
}


@pytest.mark.parametrize("tests", DEFINED_ONLY.values(), ids=DEFINED_ONLY)
def test_tests_that_are_only_defined_are_run(tests: dict[str, Any], tmp_path: Path) -> None:
    """Protects from tests that test nothing: functions, `check`, classes and main blocks are run, so a wrong answer fails."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    rows = [{"prompt": f"Add 1, {n}.", **tests} for n in range(40)]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem)
        verdicts = testbed.judge([(RIGHT, problem.hidden_tests), (WRONG, problem.hidden_tests)])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (["f(1) == 2"], "an empty program passes all tests that judge an answer"),
        (["print(f(1) == 2)"], "an empty program passes all tests that judge an answer"),
        (["assert f(1) is None"], "an empty program passes all tests that judge an answer"),
        (["def test_x():\n    return f(1) == 2"], "an empty program passes all tests that judge an answer"),
        ([{"input": "1", "output": "\n"}], "an empty program passes all tests that judge an answer"),
        (["assert nowhere.isclose(f(1), 2)"], "its tests fail before they call the program"),
        (["def test_x(tmp_path):\n    assert f(1) == 2"], "its tests need arguments that preflab cannot supply"),
        (
            ["async def test_x():\n    assert f(1) == 2"],
            "its tests are asynchronous, and preflab does not run such tests",
        ),
        (["try:\n    f('a')\n    assert False\nexcept TypeError:\n    pass"], _RAISES),
        (
            [
                "import unittest\nclass T(unittest.TestCase):\n def test_a(self):\n  self.assertRaises(TypeError, f, 'a')"
            ],
            _RAISES,
        ),
        (["s = Stack()\ns.push(1)\nassert s.pop() == 1"], _OBJECTS),
        (["assert Stack(1).top() == 1"], _OBJECTS),
        (["import solution\nassert solution.f(1) == 2"], "its tests import the program as a module"),
        (["import pytest\nassert f(1) == 2"], "its tests need pytest, which the sandbox lacks"),
    ],
)
def test_problems_whose_tests_do_not_test_are_named(tests: Any, reason: str, tmp_path: Path) -> None:
    """Protects a reward and a measure from problems that every answer solves, or none: they are counted and named."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    rows: list[dict[str, Any]] = [{"prompt": f"Add 1, {n}.", "tests": ["assert f(1) == 2"]} for n in range(40)]
    rows[6]["tests"] = tests
    data = write(tmp_path / "mine.jsonl", *rows)
    with TESTBEDS.parse({"kind": "jsonl", "data": data, "judge": "sandbox"}).open(Context()) as testbed:
        asked = {prompt.turns[0].content for split in SPLITS for prompt in testbed.prompts(split)}
        notes = " ".join(testbed.notes)
    assert "Add 1, 6." not in asked and len(asked) == 39
    assert f"1 problem left out because {reason} ({data}:7)." in notes.replace("(first: ", "(").replace(
        "record", "problem"
    )


def test_a_problem_that_tests_is_not_run_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the time to open a testbed: a stub is not run where an assertion of a value certainly fails."""
    monkeypatch.setattr(SandboxJudge, "_run", lambda judge, programs: [] if not programs else pytest.fail("it ran"))
    rows = [{"prompt": f"Add 1, {n}.", "tests": "def test_x():\n    y = 1\n    assert f(y) == 2"} for n in range(40)]
    data = write(tmp_path / "mine.jsonl", *rows)
    with TESTBEDS.parse({"kind": "jsonl", "data": data, "judge": "sandbox"}).open(Context()) as testbed:
        assert not testbed.notes


def test_tests_without_a_judge_are_not_read(tmp_path: Path) -> None:
    """Protects SFT on answers that have tests beside them: broken tests refuse nothing, and a note says that none is run.
    Where there is nothing but tests to learn from, the judge is missing, and its absence is refused."""
    tests: list[Any] = [["assert f(1"], "{", [{"input": 1}], {"inputs": [1], "outputs": []}, 7]
    rows = [{"prompt": f"{n}", "completion": "a", "tests": tests[n % 5], "test_imports": 3} for n in range(60)]
    with TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "a.jsonl", *rows)}).open(Context()) as testbed:
        assert sum(len(testbed.demonstrations(split)) for split in SPLITS) == 60 and not testbed.tested
    assert testbed.notes == ("The tests of 60 records are not run: the testbed has no `judge`.",)
    truths = [{"prompt": f"{n}", "reward_model": {"ground_truth": "[{"}} for n in range(60)]
    with TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "v.jsonl", *truths)}).open(Context()) as testbed:
        assert len(testbed.notes) == 1
    for row in rows:
        del row["completion"]
    with pytest.raises(UserError, match="there are tests, but no `judge` to run them"):
        TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "b.jsonl", *rows)}).open(Context()).__enter__()


def test_one_broken_test_does_not_refuse_your_file(tmp_path: Path) -> None:
    """Protects a file of which one problem has a broken test and one tests nothing: both are counted and named."""
    rows = [{"prompt": f"Add 1, {n}.", "tests": ["assert f(1) == 2"]} for n in range(60)]
    rows[40]["tests"] = ["assert f(1"]
    rows[50]["tests"] = ["assert 1 == 1"]
    data = write(tmp_path / "mine.jsonl", *rows)
    spec = TESTBEDS.parse({"kind": "jsonl", "data": data, "judge": "sandbox", "backend": "bare"})
    with spec.open(Context()) as testbed:
        assert sum(len(testbed.prompts(split)) for split in SPLITS) == 58
        notes = " ".join(testbed.notes)
    assert f"1 record left out because its tests are neither JSON nor Python (first: {data}:41)." in notes
    assert f"1 record left out because none of its tests calls a function of the program (first: {data}:51)." in notes
    broken = write(tmp_path / "broken.jsonl", rows[40])
    with pytest.raises(UserError, match="`tests` contains text that is neither JSON nor Python"):
        TESTBEDS.parse({"kind": "jsonl", "data": broken, "judge": "sandbox"}).open(Context()).__enter__()
