"""Reads pairs and rankings in the format that preflab writes (`types.from_preference`, `types.from_ranking`)."""

from __future__ import annotations

from typing import Any, cast

from preflab.data.labels import FileLabels
from preflab.data.lines import check_text
from preflab.data.numbers import read_number, read_probability, require_finite
from preflab.data.row import DataRecord, DialogueRow
from preflab.data.safety import read_pair_safety
from preflab.data.turns import read_turns, require_question
from preflab.errors import UserError
from preflab.types import Completion, Prompt, Ranking, best_and_worst, to_completion


def read_own_pair(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a pair that preflab wrote. Each turn of the pair has the form `[role, text]`. The answers have
    the form that `from_completion` writes."""
    chosen, rejected = (_read_answer(record[field], f"{where}: `{field}`") for field in ("chosen", "rejected"))
    margin, probability = read_number(record, "margin", where), read_probability(record, where)
    prompt, safe = _read_prompt(record, where), read_pair_safety(record, where)
    return [DialogueRow(prompt, chosen, rejected, margin, probability, safe=safe)]


def read_own_ranking(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Returns a row for a ranking that preflab wrote. The ranked answers keep their order from the file."""
    texts, numbers = record["completions"], record["scores"]
    if not (isinstance(texts, list) and isinstance(numbers, list)) or len(texts) != len(numbers) or not texts:
        raise UserError(f"{where}: `completions` and `scores` must be two lists of the same length.")
    answers = tuple(_read_answer(text, f"{where}: `completions`") for text in cast(list[Any], texts))
    scores = tuple(require_finite(number, f"{where}: `scores`") for number in cast(list[Any], numbers))
    pair = best_and_worst(Ranking(_read_prompt(record, where), answers, scores))
    apart = pair.rejected if pair.margin else None
    return [DialogueRow(pair.prompt, pair.chosen, apart, pair.margin, None, tuple(zip(answers, scores, strict=True)))]


def _read_prompt(record: DataRecord, where: str) -> Prompt:
    place = f"{where}: `turns`"
    listed = cast(list[Any], record["turns"]) if isinstance(record["turns"], list) else []
    turns = read_turns([_read_turn(turn, place) for turn in listed], "user", place)
    name, level = (check_text(record.get(field, ""), f"{where}: `{field}`") for field in ("id", "level"))
    return Prompt(name, require_question(turns, where), level)


def _read_answer(value: Any, where: str) -> Completion:
    try:
        answer = to_completion(value)
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"{where} is not in the format in which preflab writes answers: {error}.") from error
    ids = () if answer.drawn is None else answer.drawn.ids
    if not all(type(number) is int for number in ids) or type(answer.truncated) is not bool:
        raise UserError(
            f"{where} must be an answer in preflab's format: a text, a flag for truncated text, and token ids."
        )
    check_text(answer.text, where)
    return answer


def _read_turn(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, list) or len(cast(list[Any], value)) != 2:
        raise UserError(f"{where} must contain turns `[role, text]`, not {str(value)[:40]}.")
    return {"role": value[0], "content": value[1]}
