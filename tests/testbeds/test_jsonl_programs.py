"""Testbed `jsonl` with `judge: sandbox`: answers to the user's own problems run as programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature

from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.types import Problem

from .code.records import SUM


def write(path: Path, *records: Any) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_your_own_problems_in_the_sandbox(tmp_path: Path) -> None:
    """Protects `judge: sandbox`: answers to the user's own problems run as programs; tests that are no text are named."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    rows = [{"prompt": f"Add, {n}.", "tests": [{"input": "1 2", "output": "3"}]} for n in range(40)]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with spec.open(Context()) as testbed:
        problem = testbed.prompts("train")[0]
        assert isinstance(problem, Problem)
        verdicts = testbed.judge([(text, problem.hidden_tests) for text in (f"```python\n{SUM}```", "print(4)")])
        assert [verdict.outcome for verdict in verdicts] == ["passed", "failed"]
    rows[0]["tests"] = [{"input": 1, "output": 2}]
    spec = TESTBEDS.parse({"kind": "jsonl", "data": write(tmp_path / "mine.jsonl", *rows), "judge": "sandbox"})
    with pytest.raises(UserError, match=r"a test's `input` .* must be text"), spec.open(Context()):
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
    with pytest.raises(UserError, match="`time_limit_s` is for programs: it needs `judge: sandbox`"):
        passes(plain, "1 2", judge="builtins:all", time_limit_s=1.0)
    with pytest.raises(UserError, match="a program in `special` needs `judge: sandbox`"):
        passes(plain | {"special": special}, "2 1", judge="builtins:all")
