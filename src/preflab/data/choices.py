"""Reads two answers, and the choice, the strength or the two scores that say which answer is better.

The arguments of the functions are those that `answers` describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from preflab.data.labels import FileLabels
from preflab.data.numbers import require_finite, spell_value
from preflab.data.pairs import asks_inside, read_whole_dialogues
from preflab.data.prompts import make_prompt, read_question
from preflab.data.row import DataRecord, DialogueRow
from preflab.data.safety import RESPONSES_SAFE, read_flag
from preflab.data.turns import agree_on_prompt, read_answer
from preflab.errors import UserError

FIRST_BETTER, SECOND_BETTER, EQUAL = "first", "second", "tie"
Choices = Mapping[str, str]
"""Maps each value of a field, as text, to the better answer: `FIRST_BETTER`, `SECOND_BETTER`, or `EQUAL`."""


def read_choice(
    first: str, second: str, says: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads two answers, and the field `says`, which states the better answer. If the field calls the answers equal,
    only the prompt is kept."""
    value = record[says]
    choice = choices.get(_spell_choice(value))
    if choice is None:
        raise UserError(f"{where}: `{says}` must be one of {', '.join(choices)}, not {str(value)[:40]!r}.")
    return _choose(record, first, second, choice, None, where)


def read_safe_choice(
    first: str, second: str, says: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns the pair in a record of SafeRLHF. Reads the two responses, and whether each response is safe. The field
    `says` states the better response."""
    rows = read_choice(first, second, says, choices, record, where, labels)
    one, other = (read_flag(record, name, where) for name in RESPONSES_SAFE)
    if choices[_spell_choice(record[says])] == SECOND_BETTER:
        one, other = other, one
    return [replace(row, safe=(one, other)) for row in rows]


def read_numbered_choice(
    first: str, second: str, says: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads two answers, and a number that says which is better: 1 or 2. The number 0 means that the answers are equal.
    `labels` checks later that the file does not count its answers from 0."""
    labels.add_choice(_spell_choice(record[says]), f"{where}: `{says}`")
    return read_choice(first, second, says, choices, record, where, labels)


def read_preference_strength(
    first: str, second: str, says: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads two answers, and a number that compares them. The number is negative if the first answer is better,
    positive if the second is better, and 0 if neither is better."""
    strength = require_finite(record[says], f"{where}: `{says}`")
    choice = FIRST_BETTER if strength < 0 else SECOND_BETTER if strength > 0 else EQUAL
    return _choose(record, first, second, choice, abs(strength), where)


def read_two_scores(
    first: str, second: str, scores: tuple[str, str], record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads two answers, each with its score."""
    one, other = (require_finite(record[field], f"{where}: `{field}`") for field in scores)
    choice = FIRST_BETTER if one > other else SECOND_BETTER if one < other else EQUAL
    return _choose(record, first, second, choice, abs(one - other), where)


def _choose(
    record: DataRecord, first: str, second: str, choice: str, margin: float | None, where: str
) -> list[DialogueRow]:
    better, worse = (second, first) if choice == SECOND_BETTER else (first, second)
    if asks_inside(record, better, worse):
        turns, good, bad = read_whole_dialogues(record, better, worse, where)
    else:
        question = read_question(record, where)
        read = [read_answer(record[field], question, f"{where}: `{field}`") for field in (better, worse)]
        turns = agree_on_prompt([before for before, _ in read], f"{where}: `{better}` and `{worse}`")
        good, bad = (answer for _, answer in read)
    prompt = make_prompt(record, turns, where)
    return [DialogueRow(prompt) if choice == EQUAL else DialogueRow(prompt, good, bad, margin)]


def _spell_choice(value: Any) -> str:
    """Returns a choice as text in lower case; true and false are the numbers 1 and 0."""
    return spell_value(int(value) if isinstance(value, bool) else value)
