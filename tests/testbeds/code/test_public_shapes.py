"""Public shapes of programming problems: their own programs pass in the sandbox, and wrong ones do not."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.data.reading import FileReading
from preflab.data.row import UselessRecordError
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.code.evalplus import UNTYPED, write_plus_tests
from preflab.testbeds.code.known import read_problem
from preflab.testbeds.code.testbed import Code
from preflab.types import Problem

from .records import APPS, APPS_STDIN, CONTEST, HUMANEVAL, LEETCODE, MBPP, SUM


def pack(tests: list[dict[str, str]]) -> str:
    """The private tests as LiveCodeBench's lite version packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


STDIN_TESTS = [
    {"input": "1 2\n", "output": "3\n", "testtype": "stdin"},
    {"input": "2 2\n", "output": "4\n", "testtype": "stdin"},
]
CALL_TESTS = [{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]
LCB: dict[str, Any] = {
    "question_title": "A",
    "question_content": "Print the sum.",
    "question_id": "abc_a",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps(STDIN_TESTS[:1]),
    "private_test_cases": pack(STDIN_TESTS),
    "metadata": "{}",
}
TACO = {
    **{name: value for name, value in APPS_STDIN.items() if name != "problem_id"},
    "tags": "['Math']",
    "time_limit": "2 seconds",
    "difficulty": "EASY",
}
SANITIZED: dict[str, Any] = {
    "source_file": "x.ipynb",
    "task_id": 2,
    "prompt": "Write a function to round up.",
    "code": "import math\ndef up(x):\n    return math.ceil(x)",
    "test_imports": ["import math"],
    "test_list": ["assert up(1.5) == math.ceil(1.5)", "assert up(2) == 2"],
}
HUMANEVAL_PLUS = {
    **HUMANEVAL,
    "test": "def assertion(out, exp, atol):\n    assert out == exp\n\n\ndef check(candidate):\n    inputs = [[[1, 2]], [[]]]\n"
    "    results = [3, 0]\n    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
    "        assertion(candidate(*inp), exp, 0)\n",
}
EVALPLUS: dict[str, Any] = {
    **{name: value for name, value in HUMANEVAL.items() if name != "test"},
    "base_input": [[[1, 2]], [[]]],
    "plus_input": [[[0.1, 0.2]], [[float("inf")]]],
    "atol": 0,
    "contract": "\n    assert type(xs) == list\n",
}
KODCODE: dict[str, Any] = {
    "question_id": "Prefill_1_I",
    "question": "Write a function `add_all(xs)` that adds.",
    "solution": "def add_all(xs):\n    return sum(xs)",
    "test": "from solution import add_all\n\nCASES = [([1, 2], 3)]\n\ndef test_some():\n    for xs, total in CASES:\n"
    "        assert add_all(xs) == total\n\ndef test_none():\n    assert add_all([]) == 0\n",
    "gpt_difficulty": "easy",
}
LCB_CALL = {
    **LCB,
    "starter_code": "class Solution:\n    def total(self, xs: List[int], y: int) -> int:\n        ",
    "public_test_cases": json.dumps(CALL_TESTS),
    "private_test_cases": json.dumps(CALL_TESTS),
    "metadata": json.dumps({"func_name": "total"}),
}
TOTAL = "class Solution:\n    def total(self, xs, y):\n        return sum(xs) + y\n"
PROGRAMS: dict[str, tuple[str, Mapping[str, Any], str, str]] = {
    "TACO": ("apps", TACO, SUM, SUM.replace("+", "-")),
    "LiveCodeBench": ("livecodebench", LCB, SUM, "print(3)"),
    "LiveCodeBench, called": ("livecodebench", LCB_CALL, TOTAL, TOTAL.replace("+ y", "- y")),
    "MBPP sanitized": ("mbpp", SANITIZED, SANITIZED["code"], "def up(x):\n    return int(x)"),
    "HumanEval+": ("humaneval", HUMANEVAL_PLUS, "    return sum(xs)\n", "    return len(xs)\n"),
    "HumanEval+ of EvalPlus": ("humaneval", EVALPLUS, "    return sum(reversed(xs))\n", "    return sum(xs) + 1e-5\n"),
    "KodCode": ("kodcode", KODCODE, KODCODE["solution"], "def add_all(xs):\n    return 3"),
}


def write(path: Path, records: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize(("kind", "record", "right", "wrong"), PROGRAMS.values(), ids=PROGRAMS)
def test_right_and_wrong_programs(kind: str, record: Mapping[str, Any], right: str, wrong: str, tmp_path: Path) -> None:
    """Protects each shape, by its own testbed: a right program passes every test, a wrong one does not."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    spec: Code = TESTBEDS.parse({"kind": kind, "data": write(tmp_path / "x.jsonl", [record])})
    [exercise] = spec.read_exercises()
    tests = (*exercise.public, *exercise.hidden)
    assert exercise.hidden and not exercise.unjudged
    with spec.open_judge() as judge:
        verdicts = judge([(right, tests), (wrong, tests)])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]


OWN: dict[str, tuple[Any, Mapping[str, Any], str, str]] = {
    "pairs of texts": ([["1 2", "3"]], {}, SUM, "print(4)"),
    "inputs and outputs": ({"inputs": ["1 2", "2 2"], "outputs": ["3", "4"]}, {}, SUM, "print(3)"),
    "inputs and outputs as text": (json.dumps({"inputs": ["1 2"], "outputs": ["3"]}), {}, SUM, "print(4)"),
    "a function's inputs and outputs": (
        {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]},
        {},
        "def add(a, b): return a + b",
        "def add(a, b): return 4",
    ),
    "assertions": (
        ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
        {},
        "def add(a, b): return a + b",
        "def add(a, b): return 3",
    ),
    "one text of assertions": (
        "assert add(1, 2) == 3\nassert add(0, 0) == 0",
        {},
        "def add(a, b): return a + b",
        "add = max",
    ),
    "assertions on a name of Python's": (
        ["assert sum(1, 2) == 3"],
        {},
        "def sum(a, b): return a + b",
        "def sum(a, b): return 4",
    ),
    "assertions with imports": (
        ["assert up(1.5) == math.ceil(1.5)"],
        {"test_imports": ["import math"]},
        "def up(x): return int(x) + 1",
        "def up(x): return int(x)",
    ),
}


@pytest.mark.parametrize(("tests", "beside", "right", "wrong"), OWN.values(), ids=OWN)
def test_your_own_tests_in_every_form(
    tests: Any, beside: Mapping[str, Any], right: str, wrong: str, tmp_path: Path
) -> None:
    """Protects your own problems under `judge: sandbox`: texts, arguments of a function, and assertions."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    records = [{"prompt": f"Add, {n}.", "tests": tests, **beside} for n in range(40)]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "x.jsonl", records), "judge": "sandbox"})
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem)
        verdicts = testbed.judge([(right, problem.hidden_tests), (wrong, problem.hidden_tests)])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]


def test_broken_problems_do_not_refuse_your_file(tmp_path: Path) -> None:
    """Protects a file of which one problem is broken and one cannot be judged: they are counted, and the first is named."""
    records = [{**LCB, "question_id": f"{n}", "question_content": f"Print the sum, {n}."} for n in range(60)]
    records[3] = {**records[3], "private_test_cases": "????"}
    records[7] = {**records[7], "question_content": "Print any of them; any answer is accepted."}
    data = write(tmp_path / "x.jsonl", records)
    with TESTBEDS.parse({"kind": "jsonl", "data": data, "judge": "sandbox", "backend": "bare"}).open(
        Context()
    ) as testbed:
        notes = "\n".join(testbed.notes)
    assert f"1 record left out because it is not a complete record of livecodebench (first: {data}:4)." in notes
    assert (
        f"1 record left out because several answers are right, and there is no judge for them (first: {data}:8)."
        in notes
    )


def test_packed_tests_run_no_pickle(tmp_path: Path) -> None:
    """Protects from code in a pickle, which is never run, and from a file that unpacks to more than memory holds."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return exec, ("raise SystemExit('run')",)

    evil = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    bomb = base64.b64encode(zlib.compress(b"\0" * (300 << 20), 9)).decode()
    for private in (evil, bomb, base64.b64encode(b"no zlib").decode()):
        spec = TESTBEDS.parse(
            {"kind": "livecodebench", "data": write(tmp_path / "x.jsonl", [{**LCB, "private_test_cases": private}])}
        )
        [exercise] = spec.read_exercises()
        assert exercise.unjudged.startswith("its record is broken")


def test_tests_that_need_pytest_are_marked(tmp_path: Path) -> None:
    """Protects from tests that could never pass: `pytest.raises` has no meaning in the sandbox."""
    needs = (
        "import pytest\nfrom solution import f\n\ndef test_f():\n    with pytest.raises(ValueError):\n        f(0)\n"
    )
    spec = TESTBEDS.parse({"kind": "kodcode", "data": write(tmp_path / "x.jsonl", [{**KODCODE, "test": needs}])})
    [exercise] = spec.read_exercises()
    assert "pytest" in exercise.unjudged


def test_classes_of_tests_are_run(tmp_path: Path) -> None:
    """Protects from a dropped class of tests beside a function: its methods are tests too, and a wrong answer fails them."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    tests = (
        "from solution import add_all\n\ndef test_a():\n    pass\n\nclass TestB:\n    def test_b(self):\n"
        "        assert add_all([1]) == 1\n"
    )
    spec = TESTBEDS.parse({"kind": "kodcode", "data": write(tmp_path / "x.jsonl", [{**KODCODE, "test": tests}])})
    [exercise] = spec.read_exercises()
    assert len(exercise.hidden) == 2 and not exercise.unjudged
    with spec.open_judge() as judge:
        verdicts = judge([(KODCODE["solution"], exercise.hidden), ("def add_all(xs):\n    return 3", exercise.hidden)])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]


KODCODE_MARKED = {
    "from solution import add_all\ndef test_a(tmp_path):\n    assert add_all([]) == 0": "need arguments",
    "from solution import add_all\nasync def test_a():\n    assert add_all([]) == 0": "asynchronous",
    "import solution\ndef test_a():\n    assert solution.add_all([]) == 0": "import the program as a module",
    "from solution import Sums\ndef test_a():\n    assert Sums().add([1]) == 1": "objects of the program's classes",
    "from solution import add_all\ndef test_a():\n    try:\n        add_all(1)\n        assert False\n    except TypeError:\n"
    "        pass": "expect exceptions",
}


@pytest.mark.parametrize(("tests", "reason"), KODCODE_MARKED.items(), ids=KODCODE_MARKED.values())
def test_tests_that_right_programs_fail_are_marked(tests: str, reason: str, tmp_path: Path) -> None:
    """Protects right answers: problems whose tests they cannot pass are marked with the true reason."""
    record = {**KODCODE, "test": tests, "solution": f"{KODCODE['solution']}\nclass Sums:\n    add = staticmethod(sum)"}
    spec = TESTBEDS.parse({"kind": "kodcode", "data": write(tmp_path / "x.jsonl", [record])})
    [exercise] = spec.read_exercises()
    assert reason in exercise.unjudged


def test_mbpp_that_expects_an_exception_is_marked(tmp_path: Path) -> None:
    """Protects right answers to MBPP: an exception of the program does not reach the tests."""
    tests = ["assert f(1) == 2", "try:\n    f('a')\n    assert False\nexcept TypeError:\n    pass"]
    record = {"task_id": 2, "text": "Add 1.", "code": "def f(x):\n    return x + 1", "test_list": tests}
    spec = TESTBEDS.parse({"kind": "mbpp", "data": write(tmp_path / "x.jsonl", [record])})
    [exercise] = spec.read_exercises()
    assert "expect exceptions" in exercise.unjudged


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("mbpp", {**MBPP, "test_imports": []}),
        ("apps", APPS_STDIN),
        ("code_contests", CONTEST),
        ("humaneval", HUMANEVAL),
        ("leetcode", LEETCODE),
    ],
)
def test_a_null_field_of_a_problem_is_absent(kind: str, record: Mapping[str, Any]) -> None:
    """Protects problems of tables, where a field that a record lacks is null: the problem is read as if the field were not
    there (MBPP's `challenge_test_list` left its problem out, in Python's words)."""
    spec = TESTBEDS.parse({"kind": kind, "data": "x"})
    assert isinstance(spec, Code)
    for field in record:
        lacking = {name: held for name, held in record.items() if name != field}
        assert spec.mark_exercise({**record, field: None}, "x:1") == spec.mark_exercise(lacking, "x:1"), field


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"test_list": "assert f(1) == 2"}, "`test_list` must be a list of texts"),
        ({"challenge_test_list": [1]}, "`challenge_test_list` must be text, not 1"),
        ({"test_list": ["assert f(1) == (2"]}, "the record's tests or its solution are not valid Python 3"),
    ],
)
def test_mbpp_tests_of_another_form_are_named(wrong: Mapping[str, Any], reason: str) -> None:
    """Protects from Python's words about a text that was read letter by letter."""
    spec = TESTBEDS.parse({"kind": "mbpp", "data": "x"})
    assert isinstance(spec, Code)
    assert reason in spec.mark_exercise({**MBPP, **wrong}, "x:1").unjudged


def test_evalplus_inputs_have_one_test_each(tmp_path: Path) -> None:
    """Protects HumanEval+ from EvalPlus' own file: every input counts, any zero of `find_zero` is right, and MBPP+, whose
    inputs JSON has made lists of, is marked and gives its solutions all the same."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    zero = {
        **EVALPLUS,
        "task_id": "HumanEval/32",
        "prompt": 'def find_zero(xs: list):\n    """Returns a zero."""\n',
        "entry_point": "find_zero",
        "canonical_solution": "    return 1.0\n",
        "base_input": [[[-1, 0, 1]]],
        "plus_input": [],
        "atol": 1e-4,
    }
    mbpp = {**EVALPLUS, "task_id": "Mbpp/2", "canonical_solution": "def total(xs):\n    return sum(xs)\n"}
    spec = TESTBEDS.parse({"kind": "humaneval", "data": write(tmp_path / "x.jsonl", [EVALPLUS, zero, mbpp])})
    plus, root, marked = spec.read_exercises()
    assert (len(plus.hidden), plus.unjudged, root.unjudged, marked.unjudged) == (4, "", "", UNTYPED)
    assert marked.right == ("def total(xs):\n    return sum(xs)\n",)
    with spec.open_judge() as judge:
        verdicts = judge([(f"    return {value}\n", root.hidden) for value in ("-1.0", "1.0", "0.5")])
    assert [verdict.outcome for verdict in verdicts] == ["passed", "passed", "failed"]
    [(_, row)] = FileReading(None, partial(read_problem, {}, False)).read_rows([("f:1", mbpp)])
    assert row.answer is not None and row.answer.text == marked.right[0]
    with pytest.raises(UselessRecordError, match="without their Python types"):
        list(FileReading(None, partial(read_problem, {}, True), tested=True).read_rows([("f:1", mbpp)]))


@pytest.mark.parametrize("inputs", [None, {}, 3, [3], "[[1]]"])
def test_evalplus_inputs_of_another_form_are_named(inputs: Any) -> None:
    """Protects HumanEval+ from being judged by the few base inputs where the further ones cannot be read, and its user from
    Python's words about it."""
    with pytest.raises(UserError, match="`base_input` and `plus_input` must be lists of lists of arguments"):
        write_plus_tests({**EVALPLUS, "plus_input": inputs}, "f:1")


def test_mbpp_plus_on_the_hub_has_more_tests(tmp_path: Path) -> None:
    """Protects MBPP+ from a measure of MBPP: its field `test`, which holds the further inputs, judges the answers too."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    more = (
        "import numpy as np\ndef assertion(got, expected, atol):\n    assert got == expected\n"
        "for n, (given, expected) in enumerate(zip([[1], [7]], [2, 8])):\n    assertion(f(*given), expected, 0)\n"
    )
    record = {"task_id": 2, "prompt": "Add 1.", "code": "def f(x):\n    return x + 1", "test_imports": [], "test": more}
    data = write(tmp_path / "x.jsonl", [{**record, "test_list": ["assert f(1) == 2"]}])
    spec = TESTBEDS.parse({"kind": "mbpp", "data": data})
    [exercise] = spec.read_exercises()
    with spec.open_judge() as judge:
        verdicts = judge([(record["code"], exercise.hidden), ("def f(x):\n    return 2", exercise.hidden)])
    assert [verdict.passed for verdict in verdicts] == [(True, True), (True, False)]
    assert "numpy" not in exercise.statement and "`test`" not in exercise.unjudged


def test_kodcode_renames_what_it_imports(tmp_path: Path) -> None:
    """Protects right answers from tests that call the program by another name, or import it inside a test."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    for tests in (
        "from solution import add_all as g\ndef test_a():\n    assert g([1]) == 1\n",
        "def test_a():\n    from solution import add_all\n    assert add_all([1]) == 1\n",
    ):
        spec = TESTBEDS.parse({"kind": "kodcode", "data": write(tmp_path / "x.jsonl", [{**KODCODE, "test": tests}])})
        [exercise] = spec.read_exercises()
        with spec.open_judge() as judge:
            [verdict] = judge([(KODCODE["solution"], exercise.hidden)])
        assert verdict.correct and "`add_all`" in exercise.statement and not exercise.unjudged


def test_a_program_too_deep_for_python_is_named(tmp_path: Path) -> None:
    """Protects from tests that Python's parser cannot hold: the record is broken, like others."""
    deep = f"from solution import f\n\ndef test_f():\n    assert {'-' * 50_000}1 == f()\n"
    spec = TESTBEDS.parse({"kind": "kodcode", "data": write(tmp_path / "x.jsonl", [{**KODCODE, "test": deep}])})
    [exercise] = spec.read_exercises()
    assert exercise.unjudged.startswith("its record is broken")


def test_apps_still_needs_a_whole_record(tmp_path: Path) -> None:
    """Protects APPS' own names: a record without a number gets one from its text, one with a number keeps it."""
    spec = TESTBEDS.parse({"kind": "apps", "data": write(tmp_path / "x.jsonl", [{**APPS, "problem_id": 0}, TACO])})
    names = [exercise.name for exercise in spec.read_exercises()]
    assert names[0] == "train/0" and len(names[1]) == len("train/") + 16
