"""Reads the records of Kaggle's LMSYS competition. A record contains two answers, written as JSON lists, and three
fields with 0 or 1. The field with 1 shows the result: answer A is better, answer B is better, or a tie."""

from __future__ import annotations

import json
from typing import Any, cast

from preflab.data.choices import EQUAL, FIRST_BETTER, SECOND_BETTER, read_choice
from preflab.data.labels import FileLabels
from preflab.data.numbers import require_finite
from preflab.data.row import NO_TEXT, PROMPTS_DIFFER, DataRecord, DialogueRow, UselessRecordError
from preflab.errors import UserError

KAGGLE_CHOICES = ("winner_model_a", "winner_model_b", "winner_tie")
_CHOICES: dict[str, str] = dict(zip(KAGGLE_CHOICES, (FIRST_BETTER, SECOND_BETTER, EQUAL), strict=True))


def read_kaggle(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a record with one question and two answers. Raises `UselessRecordError` for a longer dialogue,
    because the two models then answered different histories and their last answers are not a pair."""
    texts = {name: _read_text(record[name], f"{where}: `{name}`") for name in ("prompt", "response_a", "response_b")}
    ones = [name for name in KAGGLE_CHOICES if require_finite(record[name], f"{where}: `{name}`") == 1]
    if len(ones) != 1:
        raise UserError(
            f"{where}: exactly one of {', '.join(KAGGLE_CHOICES)} must be 1, but {len(ones)} of them are 1."
        )
    plain = {**record, **texts, "winner": ones[0]}
    return read_choice("response_a", "response_b", "winner", _CHOICES, plain, where, labels)


def _read_text(value: Any, where: str) -> Any:
    """Returns the text from a list that contains a single text. The list may be written as JSON. Returns a value that
    is not a list unchanged. Raises `UselessRecordError` if the list does not contain exactly one text."""
    listed = value
    if isinstance(value, str) and value.startswith("["):
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            return value
    if not isinstance(listed, list):
        return value
    texts = cast(list[Any], listed)
    if len(texts) != 1:
        raise UselessRecordError(
            f"{where} contains {len(texts)} turns, but preflab can compare only one turn.", PROMPTS_DIFFER
        )
    if texts[0] is None:
        raise UselessRecordError(f"{where} contains no text.", NO_TEXT)
    return texts[0]
