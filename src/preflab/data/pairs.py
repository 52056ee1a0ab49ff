"""Reads pairs: a better and a worse answer to one prompt.

The docstring of the module `answers` describes the arguments of the functions.
"""

from __future__ import annotations

from typing import Any, cast

from preflab.data.hh_strings import is_dialogue, read_dialogue_pair
from preflab.data.labels import FileLabels
from preflab.data.lines import check_text
from preflab.data.numbers import read_margin, read_probability
from preflab.data.prompts import explain_unknown, find_question, make_prompt, read_question, read_whole, surround
from preflab.data.row import PROMPTS_DIFFER, USER_LAST, DataRecord, DialogueRow, Turns, UselessRecordError
from preflab.data.safety import read_pair_safety
from preflab.data.shared_beginning import part_texts
from preflab.data.turns import agree_on_prompt, read_answer, read_turns
from preflab.data.written import begins_like_messages, parse_messages
from preflab.errors import UserError
from preflab.types import Completion, Turn


def read_pair(chosen: str, rejected: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row with a better and a worse answer. `chosen`, `rejected`: the names of the fields with these answers.
    The prompt is in another field. If there is no such field, both answers are dialogues that begin with the prompt."""
    if isinstance(record.get("completions"), list) and "scores" in record:
        raise UserError(
            f"{where}: a record with `completions` and `scores` is a ranking. Remove the fields with other answers."
        )
    if asks_inside(record, chosen, rejected):
        turns, better, worse = read_whole_dialogues(record, chosen, rejected, where)
        return [_make_pair(record, turns, better, worse, where)]
    question = read_question(record, where)
    turns, better = read_answer(record[chosen], question, f"{where}: `{chosen}`")
    others, worse = read_answer(record[rejected], question, f"{where}: `{rejected}`")
    prompt = agree_on_prompt((turns, others), f"{where}: `{chosen}` and `{rejected}`")
    return [_make_pair(record, prompt, better, worse, where)]


def read_texts_alone(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a better and a worse text without a separate prompt. The words with which both texts begin
    become the prompt."""
    chosen, rejected = (check_text(record[field], f"{where}: `{field}`") for field in ("chosen", "rejected"))
    beginning, better, worse = part_texts(chosen, rejected, record, where)
    turns = surround(record, (Turn("user", beginning),), where)
    return [_make_pair(record, turns, Completion(better), Completion(worse), where)]


def read_messages_and_worse(
    field: str, rejected: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row for a record in the format of ms-swift. The better answer is the last turn of the dialogue in
    `field`. The worse answer is in the field `rejected`, as a text or as a whole dialogue."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        raise UselessRecordError(f"{where}: `{field}` must end in a turn of the assistant.", USER_LAST)
    before, worse = read_answer(record[rejected], turns[:-1], f"{where}: `{rejected}`")
    prompt = agree_on_prompt((turns[:-1], before), f"{where}: `{field}` and `{rejected}`")
    return [_make_pair(record, prompt, Completion(turns[-1].content), worse, where)]


def asks_inside(record: DataRecord, *answers: str) -> bool:
    """Checks whether the fields of the answers also contain the question. This is the case if the record has no field
    for the question. It is also the case if this field is empty and all answers are whole dialogues."""
    field = find_question(record)
    values = [record[name] for name in answers]
    return field is None or (record[field] == "" and all(map(_is_whole, values)))


def _is_whole(answer: Any) -> bool:
    """Checks whether an answer is a whole dialogue. A dialogue is a text in HH-RLHF's format, or a list of several
    messages. The list may be written as text."""
    if isinstance(answer, str):
        return is_dialogue(answer) or begins_like_messages(answer)
    return isinstance(answer, list) and len(cast(list[Any], answer)) > 1


def read_whole_dialogues(
    record: DataRecord, chosen: str, rejected: str, where: str
) -> tuple[Turns, Completion, Completion]:
    """Returns the prompt, the better answer and the worse answer from two whole dialogues. The last turn of each
    dialogue is the answer. The earlier turns belong to the prompt. If the record has fields for a system message or a
    history, the prompt begins with the turns from these fields."""
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
            f"{place} must be the same dialogue, except for the last turn. The last turn must be the assistant's.",
            USER_LAST if "user" in (good.role, bad.role) else PROMPTS_DIFFER,
        )
    prompt = surround(record, agree_on_prompt((tuple(turns), tuple(others)), place), where)
    return prompt, Completion(good.content), Completion(bad.content)


def _make_pair(record: DataRecord, turns: Turns, better: Completion, worse: Completion, where: str) -> DialogueRow:
    prompt, margin = make_prompt(record, turns, where), read_margin(record, where)
    probability, safe = read_probability(record, where), read_pair_safety(record, where)
    return DialogueRow(prompt, better, worse, margin, probability, safe=safe)
