"""Reads the numbers of a record: its level, its scores, its margin, and the probability that its chosen answer is
better."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

from preflab.data.lines import check_text
from preflab.data.row import DataRecord, UselessRecordError
from preflab.errors import UserError

_SCORE_NAMES = ("score", "rating", "reward", "avg_rating")
SCORE_FIELDS = (
    *((f"{name}_chosen", f"{name}_rejected") for name in _SCORE_NAMES),
    *((f"chosen_{name}", f"rejected_{name}") for name in _SCORE_NAMES),
    ("chosen-rating", "rejected-rating"),
)
"""Pairs of fields that contain the scores of the chosen answer and of the rejected answer."""


def read_level(record: DataRecord, where: str) -> str:
    """Returns the level of a record as text. Returns '' if the record has no level. The numbers 2 and 2.0 become the
    text "2". Raises `UserError` if the level is neither text nor a finite number."""
    level = record.get("level", "")
    if isinstance(level, bool) or not isinstance(level, int | float):
        return check_text(level, where)
    number = require_finite(level, where)
    return str(int(number)) if number.is_integer() else str(number)


def read_margin(record: DataRecord, where: str) -> float | None:
    """Returns the margin by which the chosen answer is better than the rejected answer. The margin is the field
    `margin`, or the difference of the scores of both answers. Returns None if the record has neither."""
    margin = read_number(record, "margin", where)
    if margin is not None and margin < 0:
        raise UserError(
            f"{where}: `margin` is the amount by which the chosen answer is better. It must be at least 0, not {margin:g}."
        )
    if margin is not None:
        return margin
    for pair in SCORE_FIELDS:
        if pair[0] in record and pair[1] in record:
            high, low = (require_finite(record[field], f"{where}: `{field}`") for field in pair)
            if high < low:
                raise UselessRecordError(
                    f"{where}: `{pair[0]}` is {high:g} and `{pair[1]}` is {low:g}: the better answer scores lower.",
                    "its scores contradict the order of its answers",
                )
            return high - low
    return None


def read_probability(record: DataRecord, where: str) -> float | None:
    """Returns the probability that the chosen answer is better. Returns None if the record has no field
    `probability`."""
    probability = read_number(record, "probability", where)
    if probability is not None and not 0 <= probability <= 1:
        raise UserError(f"{where}: `probability` must lie between 0 and 1, not {probability:g}.")
    return probability


def read_number(record: DataRecord, field: str, where: str) -> float | None:
    """Returns the number in a field of a record. Returns None if the record does not have the field."""
    return None if field not in record else require_finite(record[field], f"{where}: `{field}`")


def require_finite(value: Any, where: str) -> float:
    """Returns a value as a float. Accepts numbers, the decimal numbers of Parquet, and numbers written as text, because
    CSV contains only text. Raises `UserError` if the value is not a finite number."""
    try:
        number = (
            math.nan if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) else float(value)
        )
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where} must be a finite number, not {json.dumps(value, default=str)[:40]}.")
    return number


def spell_value(value: Any) -> str:
    """Returns a value as text in lower case, without white space at both ends. The numbers 1 and 1.0 both become "1".
    True becomes "true", and False becomes "false"."""
    text = str(value).strip().casefold()
    return text.removesuffix(".0") if text.lstrip("+-").removesuffix(".0").isdigit() else text
