"""Reads the records of Kaggle's LMSYS competition: two answers, written as lists in JSON, and three fields of 0 or 1."""

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
    """Reads one exchange. In a longer dialogue the two models answered different histories, so there is no pair."""
    texts = {name: _read_text(record[name], f"{where}: `{name}`") for name in ("prompt", "response_a", "response_b")}
    ones = [name for name in KAGGLE_CHOICES if require_finite(record[name], f"{where}: `{name}`") == 1]
    if len(ones) != 1:
        raise UserError(f"{where}: exactly one of {', '.join(KAGGLE_CHOICES)} must be 1, not {len(ones)}.")
    plain = {**record, **texts, "winner": ones[0]}
    return read_choice("response_a", "response_b", "winner", _CHOICES, plain, where, labels)


def _read_text(value: Any, where: str) -> Any:
    """Returns the only text of a list, which may be written in JSON. Returns any other text unchanged."""
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
        raise UselessRecordError(f"{where} holds {len(texts)} turns, but only one can be compared.", PROMPTS_DIFFER)
    if texts[0] is None:
        raise UselessRecordError(f"{where} holds no text.", NO_TEXT)
    return texts[0]
