"""Reads records with two answers. A choice, a preference strength or two scores tell which answer is better.

The docstring of the module `answers` describes the arguments of the functions.
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
"""Maps each value of a choice field, in lower case, to the result of the comparison: `FIRST_BETTER`, `SECOND_BETTER` or
`EQUAL`."""


def read_choice(
    first: str, second: str, choice_field: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with the better and the worse of two answers. `first`, `second`: the fields with the answers.
    `choice_field`: the name of the field that tells which answer is better. If the answers are equally good, the row contains
    only the prompt."""
    value = record[choice_field]
    choice = choices.get(_spell_choice(value))
    if choice is None:
        raise UserError(f"{where}: `{choice_field}` must be one of {', '.join(choices)}, not {str(value)[:40]!r}.")
    return _choose(record, first, second, choice, None, where)


def read_safe_choice(
    first: str, second: str, choice_field: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with the two responses of a SafeRLHF record. The row also tells whether each response is safe.
    `choice_field`: the name of the field that tells which response is better."""
    rows = read_choice(first, second, choice_field, choices, record, where, labels)
    one, other = (read_flag(record, name, where) for name in RESPONSES_SAFE)
    if choices[_spell_choice(record[choice_field])] == SECOND_BETTER:
        one, other = other, one
    return [replace(row, safe=(one, other)) for row in rows]


def read_numbered_choice(
    first: str, second: str, choice_field: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with the better and the worse of two answers. `choice_field`: the name of the field with the number of the
    better answer, 1 or 2. The number 0 means that the answers are equally good. But some data sets number the answers 0
    and 1. After the last record, `labels.check_choices` therefore raises an error if the file contains the number 0 but
    not the number 2. For this check, `labels` stores the numbers."""
    labels.add_choice(_spell_choice(record[choice_field]), f"{where}: `{choice_field}`")
    return read_choice(first, second, choice_field, choices, record, where, labels)


def read_preference_strength(
    first: str, second: str, choice_field: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with the better and the worse of two answers. `choice_field`: the name of the field with a number that
    compares the answers. The number is negative if the first answer is better, positive if the second answer is better,
    and 0 if the answers are equally good. Its absolute value becomes the margin."""
    strength = require_finite(record[choice_field], f"{where}: `{choice_field}`")
    choice = FIRST_BETTER if strength < 0 else SECOND_BETTER if strength > 0 else EQUAL
    return _choose(record, first, second, choice, abs(strength), where)


def read_two_scores(
    first: str, second: str, scores: tuple[str, str], record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with the better and the worse of two answers, which are compared by their scores. `scores`: the
    fields with the two scores."""
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
    """Returns the value of a choice field as text in lower case. True becomes "1", and False becomes "0"."""
    return spell_value(int(value) if isinstance(value, bool) else value)
