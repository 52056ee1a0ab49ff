"""Reads what right programs reveal about their problems, from the file that `preflab testbed verify --out FILE` writes.

If two right programs give different answers, then either several answers are right, or the data call a wrong program
right. In both cases the problem cannot be judged by one expected answer. If the answers differ only in case, the
comparison ignores case.
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
    """Returns a mapping from problems to what their right programs reveal. Raises `UserError` if the file was not
    written by `testbed verify`."""
    try:
        evidence = json.loads(path.read_text(encoding="utf-8"))[EVIDENCE_FIELD]
        if not set(evidence.values()) <= {SHOWN, EITHER_CASE}:
            raise ValueError("it holds an unknown value")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"`evidence`: {path} is not what `preflab testbed verify --out` writes ({type(error).__name__}: {error})."
        ) from error
    return evidence


def apply_evidence(exercise: Exercise, evidence: Mapping[str, str]) -> Exercise:
    """Returns the exercise as the evidence requires: with a comparison that ignores case, or marked as `unjudged`."""
    shown = evidence.get(exercise.name, "")
    if shown == EITHER_CASE:
        return ignore_case(exercise)
    return replace(exercise, unjudged=exercise.unjudged or shown)


def ignore_case(exercise: Exercise) -> Exercise:
    """Returns the exercise with a comparison of answers that ignores case."""
    recipe = exercise.recipe._replace(task=exercise.recipe.task._replace(compare="caseless"))
    public, hidden = (
        tuple(replace(test, how=recipe) for test in tests) for tests in (exercise.public, exercise.hidden)
    )
    return replace(exercise, recipe=recipe, public=public, hidden=hidden)
