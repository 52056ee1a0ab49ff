"""Reads a record of a known programming data set. The testbed of the data set converts the record into rows. A row is a
prompt with its answers (see `DialogueRow`)."""

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
    """Converts a record into rows. `kind`: the testbed that converts the record. `settings`: the settings of this
    testbed. Raises `UselessRecordError` if the record is broken. If `judged` is true, also raises this error if answers
    to the problem cannot be judged."""
    testbed = _open_testbed(kind, json.dumps(settings))
    try:
        exercise = testbed.read_exercise(record, where)
    except UserError as error:
        raise UselessRecordError(str(error), f"it is not a complete record of {kind}") from error
    if judged and exercise.unjudged:
        raise UselessRecordError(f"{where}: {exercise.unjudged}.", exercise.unjudged)
    return list(testbed.make_rows(exercise))


@lru_cache
def _open_testbed(kind: str, settings: str) -> Code:
    """Returns the spec of a data set's testbed. `settings`: the settings as JSON text. The spec is cached, so that it
    is not made again for every record."""
    return cast(Code, TESTBEDS.parse({"kind": kind, **json.loads(settings)}))
