"""Checks what evaluators return: their grades and their summaries. An evaluator may be code from outside preflab."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from preflab.endings import blaming
from preflab.errors import UserError
from preflab.evaluation.base import Grade
from preflab.evaluation.measure import Measure
from preflab.spec import name_class
from preflab.text import brief
from preflab.types import Verdict

SLACK = 1e-9
"""The tolerance for rounding errors. A value that lies outside the range of its measure by at most this distance is set
to the nearest end of the range. A larger distance is an error."""


def blaming_outside(opened: object, source: str) -> AbstractContextManager[None]:
    """Returns a context in which a method of `opened` is called. `opened`: an opened object, such as an evaluator. If
    the class of `opened` comes from outside preflab, the context turns an exception into a `UserError` that names
    `source` (see `blaming`). An exception in a class of preflab passes unchanged, because it is a defect of preflab."""
    own = name_class(type(opened)).startswith("preflab.")
    return nullcontext() if own else blaming(source)


def check_grades(
    grades: Any, count: int, measures: Sequence[Measure], source: str, *, averaged: bool = True
) -> list[Grade]:
    """Checks the grades that an evaluator returned, and returns them with all numbers as finite floats within the
    ranges of their measures. `count`: the required number of grades. `averaged`: whether the measures are means over
    the grades. If so, the keys of a grade's `values` must be exactly the names of all measures except the first. Raises
    `UserError` for wrong grades. The error names the `source` and the first wrong grade."""
    if not isinstance(grades, Iterable) or isinstance(grades, str | bytes | Mapping):
        raise UserError(
            f"{source} returned a {type(grades).__name__} for {count} answers. Return a list with one `Grade` for each."
        )
    listed: list[Any] = list(islice(grades, count + 1))  # a generator may be endless
    if len(listed) != count:
        given = f"{len(listed)}" if len(listed) < count else f"more than {count}"
        raise UserError(f"{source} returned {given} grades for {count} answers. Return one `Grade` for each, in order.")
    first, *others = measures
    further = {measure.name: measure for measure in others}
    return [_checked(grade, first, further, f"{source}, answer {row}", averaged) for row, grade in enumerate(listed)]


def check_summaries(summaries: Any, prompts: int, measures: Sequence[Measure], source: str) -> list[dict[str, float]]:
    """Checks an evaluator's summaries, and returns the values of the measures for each prompt as finite floats.
    `prompts`: the number of prompts. Raises `UserError` if `source` did not return exactly the values of `measures` for
    each prompt, or if a value is outside the range of its measure."""
    if not isinstance(summaries, Sequence) or isinstance(summaries, str | bytes) or len(summaries) != prompts:
        raise UserError(
            f"{source} returned {brief(summaries)} for {prompts} prompts. Return a list with one mapping from measures "
            "to values for each prompt."
        )
    by_name = {measure.name: measure for measure in measures}
    checked: list[dict[str, float]] = []
    for row, values in enumerate(summaries):
        place = f"{source}, prompt {row}"
        if not isinstance(values, Mapping) or set(values) != set(by_name):
            given = ", ".join(map(str, values)) if isinstance(values, Mapping) else f"a {type(values).__name__}"
            raise UserError(f"{place}: the evaluator measured {given}, but its spec declares {', '.join(by_name)}.")
        checked.append({name: _number(values[name], measure, place) for name, measure in by_name.items()})
    return checked


def check_items(values: Any, measures: Sequence[Measure], source: str) -> dict[str, dict[str, float]]:
    """Returns, for each measure, the value of each item as a finite float. Raises `UserError` if `source` did not
    return exactly the values of `measures`, if a measure has no items, or if a value is outside the range of its
    measure."""
    by_name = {measure.name: measure for measure in measures}
    if not isinstance(values, Mapping) or set(values) != set(by_name):
        given = ", ".join(map(str, values)) if isinstance(values, Mapping) else f"a {type(values).__name__}"
        raise UserError(f"{source}: the evaluator measured {given}, but its spec declares {', '.join(by_name)}.")
    for name, items in values.items():
        if not isinstance(items, Mapping) or not items:
            raise UserError(f"{source}: {name!r} is {brief(items)}. Return a mapping from items to values.")
    return {
        name: {str(item): _number(value, measure, f"{source}, item {item}") for item, value in values[name].items()}
        for name, measure in by_name.items()
    }


def _checked(grade: Any, first: Measure, further: Mapping[str, Measure], place: str, averaged: bool) -> Grade:
    if not isinstance(grade, Grade):
        raise UserError(f"{place}: the evaluator returned {brief(grade)}, a {type(grade).__name__}. Return a `Grade`.")
    # An evaluator from outside preflab may have set values of any type.
    verdict, further_values = cast("object", grade.verdict), cast("object", grade.values)
    if not isinstance(verdict, Verdict) or not isinstance(further_values, Mapping):
        raise UserError(f"{place}: the grade's `verdict` must be a `Verdict`, and its `values` must be a mapping.")
    if averaged and grade.values.keys() != further.keys():
        raise UserError(f"{place}: {_explain_keys(grade.values, first, further)}")
    score = _number(grade.score, first, place)
    values = {
        name: _number(value, further.get(name) or Measure(name=str(name)), place)
        for name, value in grade.values.items()
    }
    same = score is grade.score and all(value is grade.values[name] for name, value in values.items())
    return grade if same else replace(grade, score=score, values=values)


def _explain_keys(values: Mapping[str, Any], first: Measure, further: Mapping[str, Measure]) -> str:
    """Returns a message about the first wrong key of a grade's `values`, and how to correct it."""
    if first.name in values:
        return f"`values` has {first.name!r}, the first measure. Give its value as the grade's `score` only."
    missing = [name for name in further if name not in values]
    if missing:
        return f"`values` has no {missing[0]!r}, which the spec declares. Put the value into the grade's `values`."
    unknown = next(name for name in values if name not in further)
    return f"`values` has {unknown!r}, which the spec does not declare. Declare this measure, or remove the value."


def _number(value: Any, measure: Measure, place: str) -> float:
    """Converts a value of a measure to a finite float within the measure's range. Raises `UserError` if this is
    impossible."""
    low, high = measure.range
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        shown = f"{number}" if isinstance(value, float) else brief(value)
        raise UserError(f"{place}: the value of {measure.name!r} must be a finite number, not {shown}.")
    inside = min(max(number, low), high)
    if abs(inside - number) > SLACK:
        declared = "a share, between 0 and 1" if measure.share else "declared as `nonnegative`, at least 0"
        raise UserError(
            f"{place}: the value of {measure.name!r} is {number:g}, but this measure is {declared}. Correct the value, or the "
            "measure's declaration in the spec."
        )
    return inside
