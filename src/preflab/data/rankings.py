"""Reads records with several answers that have scores or are ordered from best to worst. The best and the worst answer
form a pair."""

from __future__ import annotations

from typing import Any, cast

from preflab.data.answers import read_prompt_alone
from preflab.data.labels import FileLabels
from preflab.data.numbers import require_finite
from preflab.data.prompts import make_prompt, read_question
from preflab.data.row import DataRecord, DialogueRow
from preflab.data.turns import agree_on_prompt, read_answer, require_question
from preflab.errors import UserError


def read_ranking(texts: str, scores: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row with ranked answers. `texts`: the name of the field with the list of answers. `scores`: the name of
    the field with the list of their scores. If the name of the field with the scores begins with "rank", the smallest
    number is the best score."""
    answers, numbers = record[texts], record[scores]
    lists = isinstance(answers, list) and isinstance(numbers, list)
    if not lists or len(answers) != len(numbers) or len(answers) < 2:
        raise UserError(
            f"{where}: `{texts}` and `{scores}` must be two lists of the same length, with at least two items each."
        )
    sign = -1.0 if scores.startswith("rank") else 1.0
    values = [sign * require_finite(number, f"{where}: `{scores}`") for number in cast(list[Any], numbers)]
    return [_rank(record, list(zip(cast(list[Any], answers), values, strict=True)), f"{where}: `{texts}`", where)]


def read_ranked_answers(
    field: str, text: str, scores: tuple[str, ...], record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Returns a row with ranked answers from a list of mappings, as in Nectar and UltraFeedback. Each mapping contains
    an answer under the key `text`. `scores`: the keys that can contain a score. The first of these keys that has a
    value in every mapping ranks the answers. If there is no such key, the row contains only the prompt."""
    place = f"{where}: `{field}`"
    answers = [answer for answer in cast(list[DataRecord], record[field]) if answer.get(text) is not None]
    by = next((name for name in scores if all(answer.get(name) is not None for answer in answers)), None)
    if by is None or not answers:
        return read_prompt_alone(record, where, labels)
    sign = -1.0 if by.startswith("rank") else 1.0
    pairs = [(answer[text], sign * require_finite(answer[by], f"{place}.{by}")) for answer in answers]
    return [_rank(record, pairs, place, where)]


def read_ordered(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a list of answers that are ordered from best to worst."""
    answers = cast(list[Any], record[field])
    pairs = [(answer, float(-place)) for place, answer in enumerate(answers)]
    row = _rank(record, pairs, f"{where}: `{field}`", where)
    return [DialogueRow(row.prompt, row.answer, row.rejected)] if len(answers) == 2 else [row]


def _rank(record: DataRecord, pairs: list[tuple[Any, float]], place: str, where: str) -> DialogueRow:
    """Returns a row with answers in decreasing order of their scores. `pairs`: the answers with their scores."""
    question = require_question(read_question(record, where), where)
    read = [read_answer(text, question, place) for text, _ in pairs]
    turns = agree_on_prompt([before for before, _ in read], place)
    answers = [(answer, score) for (_, answer), (_, score) in zip(read, pairs, strict=True)]
    ranked = sorted(answers, key=lambda row: -row[1])
    (best, high), (worst, low) = ranked[0], ranked[-1]
    apart = high > low
    return DialogueRow(
        make_prompt(record, turns, where),
        best,
        worst if apart else None,
        high - low if apart else None,
        None,
        tuple(ranked) if len(ranked) > 1 else (),
    )
