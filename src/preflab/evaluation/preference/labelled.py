"""Reads labelled pairs of answers. A preference judge is checked by comparing its verdicts with the labels. Does not
import torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.data.lines import check_record, open_plain, read_records, read_text_field
from preflab.errors import UserError
from preflab.evaluation.pairwise import LOSS, TIE, WIN
from preflab.evaluation.preference.base import PairVerdict, PreferenceQuestion, name_pair
from preflab.plain import parse_json
from preflab.types import Completion, Prompt, Turn

OUTCOMES = (WIN, TIE, LOSS)
LLMBAR = ("input", "output_1", "output_2", "label")
OWN = ("prompt", "first", "second", "outcome")
CheckedPair = tuple[float, float, float]
"""The check of a judge on one labelled pair: the judge's outcome, the label, and 1 if a reply was unreadable, else 0."""


def read_labelled_pairs(paths: Sequence[Path]) -> tuple[list[PreferenceQuestion], list[float]]:
    """Returns two lists: a question about each labelled pair, and each pair's label as the outcome of the first answer.
    A file is a JSON list or has one record on each line. A record is `{input, output_1, output_2, label: 1 or 2}`
    (LLMBar) or `{prompt, first, second, outcome: 1, 0.5 or 0}`. Raises `UserError` if a record has another form. The
    error names the record."""
    questions: list[PreferenceQuestion] = []
    labels: list[float] = []
    for where, record in (item for path in paths for item in _read_any(path)):
        prompt, first, second, label = _read_pair(record, where)
        name = name_pair(prompt, first, second)
        turns = (Turn("user", prompt),)
        questions.append(PreferenceQuestion(name, Prompt(name, turns), Completion(first), Completion(second)))
        labels.append(label)
    return questions, labels


def check_verdicts(verdicts: Sequence[PairVerdict], labels: Sequence[float]) -> list[CheckedPair]:
    """Returns one row for each labelled pair: the judge's outcome, the label, and 1 if a reply was unreadable, else
    0."""
    return [
        (verdict.outcome, label, float(verdict.unreadable)) for verdict, label in zip(verdicts, labels, strict=True)
    ]


def _read_pair(record: Mapping[str, Any], where: str) -> tuple[str, str, str, float]:
    fields = LLMBAR if "output_1" in record else OWN
    prompt, first, second = (read_text_field(record, name, where) for name in fields[:3])
    label = record.get(fields[3])
    if fields == LLMBAR:
        if isinstance(label, bool) or label not in (1, 2):
            raise UserError(f"{where}: `label` is {json.dumps(label, default=str)[:40]}. It must be 1 or 2.")
        return prompt, first, second, WIN if label == 1 else LOSS
    return prompt, first, second, check_outcome(label, where)


def check_outcome(value: Any, where: str) -> float:
    """Returns an outcome that was read from a file. Raises `UserError` if the outcome is not 1, .5 or 0."""
    if isinstance(value, bool) or value not in OUTCOMES:
        raise UserError(
            f"{where}: `outcome` is {json.dumps(value, default=str)[:40]}. It must be 1 (the first answer is better), 0.5 (a "
            "tie) or 0."
        )
    return float(value)


def _read_any(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, record) for each record of a file. The file is a JSON list or has one JSON record on each line.
    `place` names the file and the record in messages."""
    try:
        with open_plain(path) as file:
            content = file.read() if file.peek(1)[:1] == b"[" else None
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if content is None:
        yield from read_records(path)
        return
    rows = parse_json(content, f"{path} cannot be read")
    if not rows:
        raise UserError(f"{path} is an empty list without a labelled pair. Name a file with labelled pairs.")
    for number, row in enumerate(rows, start=1):
        record = check_record(row, f"{path}, record {number}")
        if isinstance(record, UserError):
            raise record
        yield f"{path}, record {number}", record
