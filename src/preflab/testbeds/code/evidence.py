"""Reads evidence about problems from the file that `preflab testbed verify --out FILE` writes.

The evidence comes from programs that the data label as right. If two such programs give different answers to a problem,
then either several answers are right, or one of the programs is wrong. In both situations, a single expected answer
cannot judge the problem. If the answers differ only in case, the problem is judged with a comparison that ignores case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from preflab.errors import UserError
from preflab.testbeds.code.exercise import Exercise

SHOWN = "its right programs give different answers"
EITHER_CASE = "its right programs differ in upper and lower case alone"
EVIDENCE_FIELD = "shown by right programs"


def read_evidence(path: Path) -> dict[str, str]:
    """Returns a mapping from problem name to the evidence about the problem (`SHOWN` or `EITHER_CASE`). Raises
    `UserError` if `preflab testbed verify` did not write the file."""
    try:
        evidence = json.loads(path.read_text(encoding="utf-8"))[EVIDENCE_FIELD]
        if not set(evidence.values()) <= {SHOWN, EITHER_CASE}:
            raise ValueError("the file contains an unknown value")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"`evidence`: {path} is not a file that `preflab testbed verify --out` wrote ({type(error).__name__}: {error})."
        ) from error
    return evidence


def apply_evidence(exercise: Exercise, evidence: Mapping[str, str]) -> Exercise:
    """Returns the exercise after applying the evidence about it. The exercise gets a comparison that ignores case, or
    is marked as `unjudged`. If there is no evidence, the exercise stays unchanged."""
    shown = evidence.get(exercise.name, "")
    if shown == EITHER_CASE:
        return ignore_case(exercise)
    return replace(exercise, unjudged=exercise.unjudged or shown)


def ignore_case(exercise: Exercise) -> Exercise:
    """Returns a copy of the exercise whose comparison of answers ignores case."""
    recipe = exercise.recipe._replace(task=exercise.recipe.task._replace(compare="caseless"))
    public, hidden = (
        tuple(replace(test, how=recipe) for test in tests) for tests in (exercise.public, exercise.hidden)
    )
    return replace(exercise, recipe=recipe, public=public, hidden=hidden)
