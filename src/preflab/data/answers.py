"""Reads the answers of a record: one answer, a better and a worse one, or two with a choice.

The arguments of every public function are the names of the fields to read, the record, the record's place (`where`),
and the labels that were read so far in the file. Each function raises `UselessRecordError` for a well-formed record
that teaches nothing, and `UserError` for a broken record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.data.labels import FileLabels
from preflab.data.numbers import read_margin, read_number, read_probability, require_finite
from preflab.data.problems import read_tests
from preflab.data.prompts import (
    explain_unknown,
    find_question,
    make_prompt,
    read_question,
    read_whole,
    surround,
)
from preflab.data.row import NOT_ASKED, PROMPTS_DIFFER, USER_LAST, DataRecord, DialogueRow, UselessRecordError
from preflab.data.turns import (
    Turns,
    agree_on_prompt,
    is_dialogue,
    join_turns,
    parse_dialogue,
    read_answer,
    read_turns,
)
from preflab.data.written import parse_messages
from preflab.errors import UserError
from preflab.types import Completion, Problem, Test

FIRST_BETTER, SECOND_BETTER, EQUAL = "first", "second", "tie"
Choices = Mapping[str, str]
"""Maps each value of a field, as text, to the better answer: `FIRST_BETTER`, `SECOND_BETTER`, or `EQUAL`."""


def read_prompt_alone(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads only the prompt of a record."""
    return [DialogueRow(make_prompt(record, read_question(record, where), where))]


def read_first_turn(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads the first question of an MT-Bench record. The later questions refer to answers that the record does not
    contain."""
    turns = record["turns"]
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: `turns` must be a list of questions.")
    return [DialogueRow(make_prompt(record, read_turns(turns[0], "user", f"{where}: `turns`"), where))]


def read_ground_truth(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a record of verl: a prompt, and the ground truth by which a rule judges answers (the right answer, or tests)."""
    truth = record["reward_model"]["ground_truth"]
    prompt = make_prompt(record, read_question(record, where), where)
    listed = isinstance(truth, str) and truth.lstrip()[:2] in ('{"', "[{")
    tests = read_tests({"tests": truth}, ("tests",), where) if listed else (Test(None, truth),)
    return [DialogueRow(Problem(prompt.id, prompt.turns, prompt.level, (), tests))]


def read_single(answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads one answer, and the label that calls the answer good or bad if the record has one."""
    turns, completion = read_answer(record[answer], read_question(record, where), f"{where}: `{answer}`")
    return [_rate(record, turns, completion, where, labels)]


def read_reply(field: str, answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a dialogue that ends in a question, and the answer to it in another field, with its label if it has one."""
    turns, completion = read_answer(record[answer], read_whole(record, field, where), f"{where}: `{answer}`")
    return [_rate(record, turns, completion, where, labels)]


def read_messages(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a dialogue. If the last turn is the assistant's, that turn is the answer; otherwise the dialogue is a
    prompt without an answer."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        return [DialogueRow(make_prompt(record, turns, where))]
    return [_rate(record, turns[:-1], Completion(turns[-1].content), where, labels)]


def _rate(record: DataRecord, turns: Turns, answer: Completion, where: str, labels: FileLabels) -> DialogueRow:
    """Returns a row with one answer. An answer with a bad label becomes `rejected`, so that no method imitates it."""
    prompt, good = make_prompt(record, turns, where), labels.rate(record, where)
    if good is None:
        return DialogueRow(prompt, answer)
    return DialogueRow(prompt, answer, rated=True) if good else DialogueRow(prompt, rejected=answer, rated=True)


def read_pair(chosen: str, rejected: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a better and a worse answer from the fields `chosen` and `rejected`. The prompt is in another field, or at
    the beginning of both dialogues."""
    if isinstance(record.get("completions"), list) and "scores" in record:
        raise UserError(f"{where}: a record with `completions` and `scores` is a ranking; remove its other answers.")
    if find_question(record) is None:
        turns, better, worse = _read_whole_dialogues(record, chosen, rejected, where)
        return [_make_pair(record, turns, better, worse, where)]
    prompt = read_question(record, where)
    turns, better = read_answer(record[chosen], prompt, f"{where}: `{chosen}`")
    others, worse = read_answer(record[rejected], prompt, f"{where}: `{rejected}`")
    asked = agree_on_prompt((turns, others), f"{where}: `{chosen}` and `{rejected}`")
    return [_make_pair(record, asked, better, worse, where)]


def read_messages_and_worse(
    field: str, rejected: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads a record of ms-swift: a dialogue whose last turn is the better answer, and the worse answer in another field.
    The worse answer is text, or a whole dialogue."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        raise UselessRecordError(f"{where}: `{field}` must end in a turn of the assistant.", USER_LAST)
    before, worse = read_answer(record[rejected], turns[:-1], f"{where}: `{rejected}`")
    asked = agree_on_prompt((turns[:-1], before), f"{where}: `{field}` and `{rejected}`")
    return [_make_pair(record, asked, Completion(turns[-1].content), worse, where)]


def _read_whole_dialogues(
    record: DataRecord, chosen: str, rejected: str, where: str
) -> tuple[Turns, Completion, Completion]:
    """Reads two whole dialogues. The last turn of each is an answer; the turns before it are the prompt. The
    record's own system message and history come before this prompt."""
    place = f"{where}: `{chosen}` and `{rejected}`"
    values: list[Any] = [record[chosen], record[rejected]]
    if all(is_dialogue(value) for value in values):
        turns, better, worse = read_dialogue_pair(values[0], values[1], place)
        return surround(record, turns, where), better, worse
    if any(isinstance(value, str) and parse_messages(value, place) is None for value in values):
        raise UserError(explain_unknown(record, where))
    (*turns, good), (*others, bad) = (read_turns(value, "user", place) for value in values)
    if {good.role, bad.role} != {"assistant"}:
        raise UselessRecordError(
            f"{place} must be the same dialogue, except for the last turn, which must be the assistant's.",
            USER_LAST if "user" in (good.role, bad.role) else PROMPTS_DIFFER,
        )
    asked = surround(record, agree_on_prompt((tuple(turns), tuple(others)), place), where)
    return asked, Completion(good.content), Completion(bad.content)


def read_dialogue_pair(chosen: str, rejected: str, where: str) -> tuple[Turns, Completion, Completion]:
    """Reads two whole dialogues in HH-RLHF's text form. The last turn of each is an answer; the turns before it are the
    prompt."""
    better, worse = parse_dialogue(chosen, where), parse_dialogue(rejected, where)
    if "user" in (better[-1].role, worse[-1].role):
        raise UselessRecordError(f"{where}: {USER_LAST}.", USER_LAST)
    if better[:-1] != worse[:-1]:
        raise UselessRecordError(f"{where}: {PROMPTS_DIFFER}.", PROMPTS_DIFFER)
    turns = join_turns(better[:-1])
    if not turns or turns[-1].role != "user":
        raise UselessRecordError(f"{where}: {NOT_ASKED}.", NOT_ASKED)
    return turns, Completion(better[-1].content), Completion(worse[-1].content)


def _make_pair(record: DataRecord, turns: Turns, better: Completion, worse: Completion, where: str) -> DialogueRow:
    prompt, margin = make_prompt(record, turns, where), read_margin(record, where)
    return DialogueRow(prompt, better, worse, margin, read_probability(record, where))


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


def read_numbered_choice(
    first: str, second: str, says: str, choices: Choices, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Reads two answers, and the number of the better answer, 1 or 2. Under 0 the answers are equal, if the file counts
    from 1."""
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
    if find_question(record) is None:
        turns, good, bad = _read_whole_dialogues(record, better, worse, where)
    else:
        asked = read_question(record, where)
        read = [read_answer(record[field], asked, f"{where}: `{field}`") for field in (better, worse)]
        turns = agree_on_prompt([before for before, _ in read], f"{where}: `{better}` and `{worse}`")
        good, bad = (answer for _, answer in read)
    prompt = make_prompt(record, turns, where)
    return [DialogueRow(prompt) if choice == EQUAL else DialogueRow(prompt, good, bad, margin)]


def _spell_choice(value: Any) -> str:
    """Returns a choice as text in lower case; whole numbers are written without a decimal point."""
    if isinstance(value, bool | float) and float(value).is_integer():
        value = int(value)
    return str(value).strip().casefold()


def read_scored(score: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads only the prompt of a record with one scored answer. The answer is dropped, because no second score shows
    whether it is good or bad."""
    read_number(record, score, where)
    return read_prompt_alone(record, where, labels)
