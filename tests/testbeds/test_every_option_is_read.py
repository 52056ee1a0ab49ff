"""Every option of a testbed is read when it is opened: who sets an option that nothing looks at is misled.

Each testbed is opened on a few records, and its records are counted, while every read of a field of its settings is noted. A
check by name (`tests/methods/test_every_option_is_read.py`) would be content with an option of the same name elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import require_feature
from tests.methods.watching import watched

from preflab.sandbox.bubblewrap import explain_absence
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import count_records

from .code.records import APPS, CONTEST, HUMANEVAL, LEETCODE, MBPP
from .test_safe_rlhf import ROWS

FEW = {"train": 6, "validation": 2, "test": 2}
DIALOGUES = [{end: f"\n\nHuman: {n}?\n\nAssistant: {end}" for end in ("chosen", "rejected")} for n in range(60)]
PROGRAMS = [{"prompt": f"Add, {n}.", "tests": [{"input": "1 2", "output": "3"}]} for n in range(40)]
PROBLEMS = [{"problem": f"{n} + 1?", "answer": f"{n + 1}", "solution": f"\\boxed{{{n + 1}}}"} for n in range(30)]
UNTIMED = {name: value for name, value in CONTEST.items() if name != "time_limit"}
HH = {"subsets": ["helpful-base"], "mixture": {"helpful-base": 9}}
EMBEDDED = ("minicode", "minicode-py", "sentiment", "safeworld")
READ: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "hh_rlhf": ("helpful-base/train.jsonl", DIALOGUES, HH),
    "safe_rlhf": ("train.jsonl", ROWS, {}),
    "jsonl": ("mine.jsonl", PROGRAMS, {"judge": "sandbox"}),
    "math": ("problems.jsonl", PROBLEMS, {}),
    "humaneval": ("all.jsonl", [HUMANEVAL], {}),
    "mbpp": ("all.jsonl", [MBPP | {"task_id": n} for n in range(601, 640)], {}),
    "leetcode": ("all.jsonl", [LEETCODE | {"task_id": f"m{n}"} for n in range(30)], {}),
    "apps": ("all.jsonl", [APPS | {"problem_id": n, "question": f"{n}?"} for n in range(30)], {}),
    "code_contests": ("train.jsonl", [CONTEST, UNTIMED | {"name": "2_B. Sum"}], {}),
}
"""The testbeds that read records: the name of their file, its records, and further settings."""
IDLE = {
    "humaneval": {"validation", "test"},  # all its records are test problems
}
"""What a data set does not need of the settings that all testbeds of programs share."""


def unread(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The options that nothing reads while the testbed is opened and its records are counted."""
    spec = TESTBEDS.parse(settings)
    options = set(type(spec).model_fields) - {"kind"}
    if "backend" in options:
        require_feature("sandbox", not explain_absence(), explain_absence())
    with watched(monkeypatch) as fields, spec.open(Context()) as testbed:
        count_records(testbed)
    return options - fields[type(spec)]


@pytest.mark.parametrize("kind", EMBEDDED)
def test_every_option_of_an_embedded_testbed_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects whoever sets the size, the seed or the noise of a testbed that comes with preflab."""
    assert unread({"kind": kind, **FEW}, monkeypatch) == set()


@pytest.mark.parametrize("kind", READ)
def test_every_option_of_a_testbed_of_records_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects whoever filters, splits or limits records, or limits the programs that are judged by them."""
    name, records, settings = READ[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    data = path if kind in ("jsonl", "math", "safe_rlhf") else tmp_path
    assert unread({"kind": kind, "data": str(data), **settings}, monkeypatch) == IDLE.get(kind, set())


def test_every_testbed_is_watched() -> None:
    """A testbed without an entry would go unwatched. Those that are left out share all options with `apps`."""
    left_out = {"livecodebench", "kodcode"}
    assert {*EMBEDDED, *READ, *left_out} == set(TESTBEDS.known)
    shared = set(TESTBEDS.load("apps").model_fields)
    assert all(set(TESTBEDS.load(kind).model_fields) == shared for kind in left_out)
