"""Reads records of any programming data set, each by the data set's own testbed, which the record's fields tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from preflab.data.row import DialogueRow, UselessRecordError
from preflab.errors import UserError
from preflab.testbeds import TESTBEDS
from preflab.testbeds.code.testbed import Code


def read_problem(
    settings: Mapping[str, Any], judged: bool, kind: str, record: Mapping[str, Any], where: str
) -> Sequence[DialogueRow]:
    """A record as rows, by the testbed of that kind with these settings. Raises `UselessRecordError` for a broken problem, and
    where answers are `judged`, for one whose answers cannot be."""
    testbed = _open_testbed(kind, json.dumps(settings))
    try:
        exercise = testbed.read_exercise(record, where)
    except UserError as error:
        raise UselessRecordError(str(error), f"it is no whole record of {kind}") from error
    if judged and exercise.unjudged:
        raise UselessRecordError(f"{where}: {exercise.unjudged}.", exercise.unjudged)
    return list(testbed.make_rows(exercise))


@lru_cache
def _open_testbed(kind: str, settings: str) -> Code:
    """The spec of a data set. It is read once, not for every record."""
    return cast(Code, TESTBEDS.parse({"kind": kind, **json.loads(settings)}))
