"""Reads records with one answer, with or without a label, and records that contain only a prompt.

Every public function takes the names of the fields to read, the record, the record's place in the file (`where`), and
the labels that were read from the file so far. Each function raises `UselessRecordError` for a well-formed record that
a model cannot learn from, and `UserError` for a broken record.
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
    """Returns a row with the prompt of a record and without an answer."""
    return [DialogueRow(make_prompt(record, read_question(record, where), where))]


def read_first_turn(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row whose prompt is the first question of an MT-Bench record. The later questions are not read, because
    they refer to answers that the record does not contain."""
    turns = record["turns"]
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: `turns` must be a list of questions.")
    return [DialogueRow(make_prompt(record, read_turns(turns[0], "user", f"{where}: `turns`"), where))]


def read_ground_truth(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Reads a record in verl's format: a prompt, and the ground truth, by which a rule judges answers. The ground truth
    is either the right answer or a list of tests."""
    truth = record["reward_model"]["ground_truth"]
    prompt = make_prompt(record, read_question(record, where), where)
    listed = isinstance(truth, str) and truth.lstrip()[:2] in ('{"', "[{")
    tests = read_tests({"tests": truth}, ("tests",), where) if listed else (Test(None, truth),)
    return [DialogueRow(Problem(prompt.id, prompt.turns, prompt.level, (), tests))]


def read_single(answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row with the prompt of a record and the answer in the field `answer`. If the record labels the answer
    as good or bad, the row contains this label."""
    turns, completion = read_answer(record[answer], read_question(record, where), f"{where}: `{answer}`")
    return [_rate(record, answer, turns, completion, where, labels)]


def read_reply(field: str, answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a dialogue that ends in a question. `field`: the name of the field with the dialogue. `answer`:
    the name of the field with the answer to the question. If the record labels the answer as good or bad, the row
    contains this label."""
    turns, completion = read_answer(record[answer], read_whole(record, field, where), f"{where}: `{answer}`")
    return [_rate(record, answer, turns, completion, where, labels)]


def read_messages(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a dialogue. If the last turn belongs to the assistant, this turn is the answer. Otherwise, the
    whole dialogue is a prompt without an answer."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        return [DialogueRow(make_prompt(record, turns, where))]
    return [_rate(record, field, turns[:-1], Completion(turns[-1].content), where, labels)]


def _rate(
    record: DataRecord, field: str, turns: Turns, answer: Completion, where: str, labels: FileLabels
) -> DialogueRow:
    """Returns a row with the answer that the record contains in `field`. An answer that is labelled as bad becomes
    `rejected`, so that no method imitates it. The label may be a field of the record or of the message that contains
    the answer."""
    prompt, good = make_prompt(record, turns, where), labels.rate(record, where)
    inside = rate_message(record[field], f"{where}: `{field}`")
    if None not in (good, inside) and good != inside:
        raise LabelError(
            f"{where}: a label of the record and a label inside of `{field}` contradict each other. Remove one label."
        )
    good = inside if good is None else good
    if good is None:
        return DialogueRow(prompt, answer)
    return DialogueRow(prompt, answer, rated=True) if good else DialogueRow(prompt, rejected=answer, rated=True)


def read_scored(score: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row with the prompt of a record and without the record's scored answer. A single score does not show
    whether the answer is good or bad, because there is no other score for comparison."""
    read_number(record, score, where)
    return read_prompt_alone(record, where, labels)
