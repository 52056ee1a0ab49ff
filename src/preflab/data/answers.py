"""Reads records with one answer, labelled or not, and records with a prompt alone.

The arguments of every public function are the names of the fields to read, the record, the record's place (`where`),
and the labels that were read so far in the file. Each function raises `UselessRecordError` for a well-formed record
that teaches nothing, and `UserError` for a broken record.
"""

from __future__ import annotations

from preflab.data.labels import FileLabels, LabelError, rate_message
from preflab.data.numbers import read_number
from preflab.data.problems import read_tests
from preflab.data.prompts import make_prompt, read_question, read_whole
from preflab.data.row import DataRecord, DialogueRow, Turns
from preflab.data.turns import read_answer, read_turns
from preflab.errors import UserError
from preflab.types import Completion, Problem, Test


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
    """Reads one answer. Also reads the label that calls the answer good or bad, if the record has such a label."""
    turns, completion = read_answer(record[answer], read_question(record, where), f"{where}: `{answer}`")
    return [_rate(record, answer, turns, completion, where, labels)]


def read_reply(field: str, answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a dialogue that ends in a question. The answer to this question, and its label if it has one, are in other
    fields."""
    turns, completion = read_answer(record[answer], read_whole(record, field, where), f"{where}: `{answer}`")
    return [_rate(record, answer, turns, completion, where, labels)]


def read_messages(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a dialogue. If the last turn is the assistant's, that turn is the answer; otherwise the dialogue is a
    prompt without an answer."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        return [DialogueRow(make_prompt(record, turns, where))]
    return [_rate(record, field, turns[:-1], Completion(turns[-1].content), where, labels)]


def _rate(
    record: DataRecord, field: str, turns: Turns, answer: Completion, where: str, labels: FileLabels
) -> DialogueRow:
    """Returns a row with one answer, which the record holds in `field`. An answer with a bad label becomes `rejected`,
    so that no method imitates it. The label may be a field of the record, or a field of the answer's message."""
    prompt, good = make_prompt(record, turns, where), labels.rate(record, where)
    inside = rate_message(record[field], f"{where}: `{field}`")
    if None not in (good, inside) and good != inside:
        raise LabelError(
            f"{where}: a label of the record and a label inside of `{field}` contradict each other. Remove one."
        )
    good = inside if good is None else good
    if good is None:
        return DialogueRow(prompt, answer)
    return DialogueRow(prompt, answer, rated=True) if good else DialogueRow(prompt, rejected=answer, rated=True)


def read_scored(score: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads only the prompt of a record with one scored answer. The answer is dropped, because no second score shows
    whether it is good or bad."""
    read_number(record, score, where)
    return read_prompt_alone(record, where, labels)
