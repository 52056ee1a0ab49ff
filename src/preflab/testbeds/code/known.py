"""Finds the data set that a record belongs to by its fields, for `preflab judge`, which takes records of any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from preflab.errors import UserError
from preflab.sandbox.answer import build_program
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds import TESTBEDS

_RECORD_FIELDS: Mapping[str, tuple[set[str], ...]] = {
    "humaneval": ({"canonical_solution", "entry_point", "test"},),
    "mbpp": ({"test_list", "test_setup_code", "code"},),
    "leetcode": ({"completion", "entry_point", "query", "test"},),
    "apps": ({"input_output", "question"}, {"test_list", "starter_code", "description"}),
    "code_contests": ({"description", "tests"}, {"description", "public_tests"}, {"content", "test"}),
}


def read_exercise(record: Mapping[str, Any], where: str) -> tuple[str, Callable[[str], tuple[str, ProgramTask]]]:
    """A record's id, and what makes an answer to it the program that is run. Raises `UserError` where no data set has such
    records."""
    kind = next((kind for kind, forms in _RECORD_FIELDS.items() if any(form <= set(record) for form in forms)), None)
    if kind is None:
        raise UserError(
            f"{where}: neither a problem in the judge's own form (`problem_id`, `mode`, `hidden_tests`, ...) nor a record of "
            f"{', '.join(_RECORD_FIELDS)} (present: {', '.join(record)})."
        )
    exercise = TESTBEDS.parse({"kind": kind}).read_exercise(record, where)
    tests = (*exercise.public, *exercise.hidden)

    def prepare(answer: str) -> tuple[str, ProgramTask]:
        if exercise.unjudged:
            return answer, ProgramTask("stdin", unjudged=f"the problem cannot be judged: {exercise.unjudged}")
        return build_program(answer, tests)

    return exercise.name, prepare
