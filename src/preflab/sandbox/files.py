"""`preflab judge`: problems and programs from JSON lines, verdicts to JSON lines, one a program, going on where it stopped.

A problem: `problem_id`, `mode` (stdin or call), `entry_point`, `public_tests` and `hidden_tests`, `time_limit_s` for a test,
`memory_limit_mb`. A stdin test is `{input, output}`, a call test `{args, expected}`. A program: `program_id`, `problem_id`,
`source`. A verdict: `program_id`, `verdict`, and `detail` with the first failing test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.sandbox.judge import Task
from preflab.sandbox.limits import Limits, wall_for
from preflab.sandbox.pool import Program
from preflab.types import Test, Verdict

Prepare = Callable[[str], tuple[str, Task]]
FIELDS = {"stdin": ("input", "output"), "call": ("args", "expected")}


def read_problem(record: Mapping[str, Any], where: str) -> tuple[str, Prepare]:
    """A problem's id, and how a program's text becomes what is run. Raises `UserError` naming line and field."""
    task = read_task(record, where)
    return needed(record, "problem_id", str, where), lambda source: (source, task)


def read_task(record: Mapping[str, Any], where: str) -> Task:
    mode = needed(record, "mode", str, where)
    if mode not in FIELDS:
        raise UserError(f"{where}: `mode` is {mode!r}; known are {' and '.join(FIELDS)}.")
    entry_point = needed(record, "entry_point", str, where) if mode == "call" else ""
    given, wanted = FIELDS[mode]
    tests: list[Test] = []
    for field in ("public_tests", "hidden_tests"):
        found: list[Any] = record.get(field) or []
        for number, test in enumerate(found):
            place = f"{where}: `{field}` {number}"
            if not isinstance(test, dict) or given not in test or wanted not in test:
                raise UserError(f"{place} needs `{given}` and `{wanted}`.")
            kind = str if mode == "stdin" else list
            tests.append(Test(needed(test, given, kind, place), test[wanted]))
            if mode == "stdin":
                needed(test, wanted, str, place)
    if not tests:
        raise UserError(f"{where}: no test: every program would pass.")
    seconds = positive(record, "time_limit_s", 10.0, where)
    memory = positive(record, "memory_limit_mb", 512, where)
    limits = Limits(cpu_s=seconds, wall_s=wall_for(seconds), memory_mb=int(memory))
    return Task("call" if mode == "call" else "stdin", tests, entry_point, limits)


def read_programs(
    lines: Iterator[tuple[str, dict[str, Any]]], problems: Mapping[str, Prepare], done: frozenset[str]
) -> Iterator[Program]:
    """The programs that have no verdict yet. Raises `UserError` for a program of no known problem, or that is there twice."""
    seen: set[str] = set()
    for where, record in lines:
        name = needed(record, "program_id", str, where)
        if name in seen:
            raise UserError(f"{where}: the program {name!r} is there twice.")
        seen.add(name)
        problem = needed(record, "problem_id", str, where)
        if problem not in problems:
            raise UserError(f"{where}: there is no problem {problem!r}.")
        source = needed(record, "source", str, where)
        if name not in done:
            yield Program(name, *problems[problem](source))


def written(path: Path) -> frozenset[str]:
    """The programs whose verdicts are in the file; a last line that was cut off is cut off here too."""
    if not path.exists():
        return frozenset()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        found = [json.loads(line)["program_id"] for line in whole.splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds other things than verdicts: name another file.") from error
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return frozenset(found)


def verdict_line(name: str, verdict: Verdict) -> str:
    record = {
        "program_id": name,
        "verdict": verdict.outcome,
        "passed": sum(verdict.passed),
        "tests": len(verdict.passed),
    }
    return json.dumps({**record, "detail": dict(verdict.detail)}) + "\n"


def needed(record: Mapping[str, Any], field: str, kind: type, where: str) -> Any:
    """A field that must be there; raises `UserError`."""
    if not isinstance(record.get(field), kind):
        raise UserError(f"{where}: `{field}` must be {'text' if kind is str else 'a list'}.")
    return record[field]


def positive(record: Mapping[str, Any], field: str, default: float, where: str) -> float:
    value = record.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UserError(f"{where}: `{field}` must be a number above 0.")
    return value
