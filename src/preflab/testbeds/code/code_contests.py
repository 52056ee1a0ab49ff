"""CodeContests (Li et al. 2022): competitive programming with public, private and generated tests, right and wrong programs.

Taken as the official records (`public_tests`, `private_tests`, `generated_tests`, `solutions`, `incorrect_solutions`,
`time_limit`, `memory_limit_bytes`), or as extracts of them: `tests` alone, or `content` with `test`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import BY_FILE, TESTLESS, UNSAID, Exercise, printed_as, several
from preflab.testbeds.code.testbed import Code
from preflab.types import Test

ASKED = "{}\n\nWrite a Python 3 program that reads standard input and prints the answer.\n"
PYTHON = 3
"""The language's number in the data: 1 is Python 2, 2 is C++, 4 is Java."""

SEVERAL = ("407_a",)
OTHERS = ("easy", "medium", "hard", "harder", "hardest", "external")


class CodeContests(Code):
    """`data`: a file or folder of JSON lines, or the hub's name. Programs in Python 3 alone."""

    kind: Literal["code_contests"] = "code_contests"
    data: str = "deepmind/code_contests"

    def exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        text = record.get("description", record.get("content"))
        name = record.get("id", record.get("name"))
        if not isinstance(text, str) or name is None:
            raise UserError(f"{where}: `description` must be text, and a `name` must be there.")
        memory = int(record.get("memory_limit_bytes") or 0) >> 20
        stated = _seconds(record)
        limits = self.limits(self.slack * stated if stated else None, memory)
        task = ProgramTask("stdin", limits=limits, compare=printed_as(text))
        recipe = Recipe(task)
        public = _tests(record, "public_tests", recipe)
        hidden = [
            test for field in ("private_tests", "generated_tests", "tests") for test in _tests(record, field, recipe)
        ]
        hidden += _extracted(record, recipe)
        return Exercise(
            name=str(name),
            statement=ASKED.format(text),
            recipe=recipe,
            public=tuple(public),
            hidden=tuple(hidden),
            right=_programs(record, "solutions"),
            wrong=_programs(record, "incorrect_solutions"),
            level=_level(record.get("difficulty")),
            unjudged=_unjudged(str(name), text, record) if hidden else TESTLESS,
        )


def _unjudged(name: str, text: str, record: Mapping[str, Any]) -> str:
    if record.get("input_file") or record.get("output_file"):
        return BY_FILE
    return UNSAID if name.lower().startswith(SEVERAL) else several(text)


def _tests(record: Mapping[str, Any], field: str, recipe: Recipe) -> list[Test]:
    return [Test(given, wanted, recipe) for given, wanted in _pairs(record, field, "input", "output")]


def _extracted(record: Mapping[str, Any], recipe: Recipe) -> list[Test]:
    """Tests of the form `{input: {stdin}, output: {stdout}}`, as text."""
    found = json.loads(record["test"]) if isinstance(record.get("test"), str) else []
    return [Test(test["input"]["stdin"], test["output"]["stdout"], recipe) for test in found]


def _programs(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    pairs = _pairs(record, field, "language", "solution")
    return tuple(program for language, program in pairs if language in (PYTHON, "PYTHON3"))


def _pairs(record: Mapping[str, Any], field: str, one: str, other: str) -> list[tuple[Any, Any]]:
    """Two lists of equal length as pairs; none where the field is empty or absent."""
    found = record.get(field) or {one: [], other: []}
    if not isinstance(found, Mapping) or len(found[one]) != len(found[other]):
        raise ValueError(f"`{field}` must hold two lists of equal length, `{one}` and `{other}`")
    return list(zip(found[one], found[other], strict=True))


def _level(number: int | None) -> str:
    """The name behind the number: 7 is A, the first problem of a contest, 8 is B; below are the levels of other sites."""
    if not number:
        return ""
    return OTHERS[number - 1] if number <= len(OTHERS) else chr(ord("A") + number - len(OTHERS) - 1)


def _seconds(record: Mapping[str, Any]) -> float | None:
    """The stated time limit, where there is one."""
    limit = record.get("time_limit")
    return limit.get("seconds", 0) + limit.get("nanos", 0) * 1e-9 if isinstance(limit, Mapping) else limit
