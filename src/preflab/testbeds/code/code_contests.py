"""Reads CodeContests (Li et al. 2022): contest problems with public and hidden tests, and with right and wrong
programs.

The data can have two forms. The official records have the fields `public_tests`, `private_tests`, `generated_tests`,
`solutions`, `incorrect_solutions`, `time_limit` and `memory_limit_bytes`. Extracts of these records have either the
field `tests`, or the fields `content` and `test`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field

from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import BY_FILE, TESTLESS, Exercise
from preflab.testbeds.code.several import choose_comparison, explain_several
from preflab.testbeds.code.testbed import Code
from preflab.types import Test

_STATEMENT = "{}\n\nWrite a Python 3 program that reads standard input and prints the answer.\n"
_PYTHON_3 = 3  # the code for Python 3 in the data; 1 is Python 2, 2 is C++, 4 is Java
_OTHER_LEVELS = ("easy", "medium", "hard", "harder", "hardest", "external")


class CodeContests(Code):
    """Problems of programming contests (CodeContests), answered in Python and judged by hidden tests in the sandbox.

    `data`: a file or folder of JSON lines, or the data set's name on the hub. The programs in the data that are not in
    Python 3 are left out. `slack`: the factor by which a time limit in the data is multiplied, because Python is slower
    than the languages for which the limits were made.
    """

    kind: Literal["code_contests"] = "code_contests"
    data: str = "deepmind/code_contests"
    slack: Annotated[float, Field(gt=0)] = 3.0

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        text = record.get("description", record.get("content"))
        name = record.get("id", record.get("name"))
        if not isinstance(text, str) or name is None:
            raise UserError(f"{where}: `description` must be text, and `name` must be present.")
        seconds, memory = _read_seconds(record), int(record.get("memory_limit_bytes") or 0) >> 20
        limits = self.make_limits(self.slack * seconds, memory)
        recipe = Recipe(ProgramTask("stdin", limits=limits, compare=choose_comparison(text)))
        lists = [_make_tests(record, field, recipe) for field in ("private_tests", "generated_tests", "tests")]
        hidden = tuple(chain(*lists, _make_extracted_tests(record, recipe)))
        public = _make_tests(record, "public_tests", recipe)
        right, wrong = (_choose_programs(record, field) for field in ("solutions", "incorrect_solutions"))
        level = _name_level(record.get("difficulty"))
        unjudged = _explain_unjudged(text, record) if hidden else TESTLESS
        return Exercise(
            str(name), _STATEMENT.format(text), recipe, public, hidden, right, wrong, level, unjudged=unjudged
        )


def _explain_unjudged(text: str, record: Mapping[str, Any]) -> str:
    return BY_FILE if record.get("input_file") or record.get("output_file") else explain_several(text)


def _make_tests(record: Mapping[str, Any], field: str, recipe: Recipe) -> tuple[Test, ...]:
    return tuple(Test(case, output, recipe) for case, output in _zip_field(record, field, "input", "output"))


def _make_extracted_tests(record: Mapping[str, Any], recipe: Recipe) -> list[Test]:
    """Makes the tests of an extract. The field `test` is JSON text: a list of `{input: {stdin}, output: {stdout}}`."""
    tests = json.loads(record["test"]) if isinstance(record.get("test"), str) else []
    return [Test(test["input"]["stdin"], test["output"]["stdout"], recipe) for test in tests]


def _choose_programs(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    pairs = _zip_field(record, field, "language", "solution")
    return tuple(program for language, program in pairs if language in (_PYTHON_3, "PYTHON3"))


def _zip_field(record: Mapping[str, Any], field: str, one: str, other: str) -> list[tuple[Any, Any]]:
    """Returns the elements of two lists of equal length as pairs. The lists are `record[field][one]` and
    `record[field][other]`. Returns no pairs if the field is empty or absent."""
    lists = record.get(field) or {one: [], other: []}
    if not isinstance(lists, Mapping) or len(lists[one]) != len(lists[other]):
        raise ValueError(f"`{field}` must contain two lists of equal length, `{one}` and `{other}`")
    return list(zip(lists[one], lists[other], strict=True))


def _name_level(number: int | None) -> str:
    """Returns the name of a difficulty level. The numbers 1 to 6 stand for the levels in `_OTHER_LEVELS`, such as
    `easy`. The numbers from 7 on stand for the position of the problem in its contest: 7 is level A (the first
    problem), 8 is level B, and so on. Returns '' if there is no number."""
    if not number:
        return ""
    contest = number - len(_OTHER_LEVELS)
    return _OTHER_LEVELS[number - 1] if contest <= 0 else chr(ord("A") + contest - 1)


def _read_seconds(record: Mapping[str, Any]) -> float:
    """Returns the time limit in a record, in seconds, or 0 if the record has no time limit."""
    limit = record.get("time_limit") or 0
    return limit.get("seconds", 0) + limit.get("nanos", 0) * 1e-9 if isinstance(limit, Mapping) else limit
