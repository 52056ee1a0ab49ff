"""Reads the answers of a record in each way that they are given: one, two in order, two with a choice, several with scores.

Every reader takes the names of its fields, the record, its place in words, and the labels of the file so far. It raises
`UselessRecordError` for a record that is well formed and teaches nothing, and `UserError` for one that is broken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from preflab.data.labels import FileLabels
from preflab.data.problems import read_tests
from preflab.data.prompts import (
    DIALOGUE_FIELDS,
    QUESTION_FIELDS,
    explain_unknown,
    find_field,
    make_prompt,
    read_margin,
    read_number,
    read_probability,
    read_question,
    read_whole,
    require_finite,
)
from preflab.data.row import NOT_ASKED, PROMPTS_DIFFER, USER_LAST, DataRecord, DialogueRow, UselessRecordError
from preflab.data.turns import Turns, is_dialogue, join_turns, parse_dialogue, read_answer, read_turns, require_question
from preflab.errors import UserError
from preflab.types import Completion, Problem, Test

LABEL_FIELDS = ("label", "kto_tag", "desirable", "is_desirable", "thumbs_up")
FIRST_BETTER, SECOND_BETTER, EQUAL = "first", "second", "tie"
Choices = Mapping[str, str]
"""What a field says, as text, and which of two answers it means."""


def read_prompt_alone(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """No answer."""
    return [DialogueRow(make_prompt(record, read_question(record, where), where))]


def read_first_turn(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """MT-Bench: questions that follow each other, of which the first can be asked."""
    turns = record["turns"]
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: `turns` must be a list of questions.")
    return [DialogueRow(make_prompt(record, read_turns(turns[0], "user", f"{where}: `turns`"), where))]


def read_ground_truth(record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """verl: a prompt, and the right answer or the tests that a rule compares answers with."""
    truth = record["reward_model"]["ground_truth"]
    prompt = make_prompt(record, read_question(record, where), where)
    listed = isinstance(truth, str) and truth.lstrip()[:2] in ('{"', "[{")
    tests = read_tests({"tests": truth}, ("tests",), where) if listed else (Test(None, truth),)
    return [DialogueRow(Problem(prompt.id, prompt.turns, prompt.level, (), tests))]


def read_single(answer: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """One answer, which its label may call good or bad."""
    turns, completion = read_answer(record[answer], read_question(record, where), f"{where}: `{answer}`")
    return [_rate(record, turns, completion, where, labels)]


def read_messages(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """A dialogue; where its last turn is the assistant's, that is the answer."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        return [DialogueRow(make_prompt(record, turns, where))]
    return [_rate(record, turns[:-1], Completion(turns[-1].content), where, labels)]


def _rate(record: DataRecord, turns: Turns, answer: Completion, where: str, labels: FileLabels) -> DialogueRow:
    """A row of one answer; one whose label is bad is no answer to imitate."""
    prompt, field = make_prompt(record, turns, where), find_field(record, LABEL_FIELDS)
    if field is None:
        return DialogueRow(prompt, answer)
    good = labels.read(record[field], f"{where}: `{field}`")
    return DialogueRow(prompt, answer, rated=True) if good else DialogueRow(prompt, rejected=answer, rated=True)


def read_pair(chosen: str, rejected: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Two answers, the better one first, to a prompt that stands apart, or before them in both."""
    if isinstance(record.get("completions"), list) and "scores" in record:
        raise UserError(f"{where}: `completions` with `scores` are a ranking; leave the other answers out.")
    apart = find_field(record, (*QUESTION_FIELDS, *DIALOGUE_FIELDS)) or isinstance(record.get("context"), list)
    if not apart:
        turns, better, worse = _read_whole_dialogues(record, chosen, rejected, where)
        return [_make_pair(record, turns, better, worse, where)]
    prompt = read_question(record, where)
    turns, better = read_answer(record[chosen], prompt, f"{where}: `{chosen}`")
    others, worse = read_answer(record[rejected], prompt, f"{where}: `{rejected}`")
    if turns != others and prompt not in (turns, others):
        raise UselessRecordError(f"{where}: `{chosen}` and `{rejected}` answer two prompts.", PROMPTS_DIFFER)
    return [_make_pair(record, max(turns, others, key=len), better, worse, where)]


def read_messages_and_worse(
    field: str, rejected: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """A dialogue whose last turn is the better answer, and the worse one apart (ms-swift): text, or a whole dialogue."""
    turns = read_whole(record, field, where)
    if turns[-1].role != "assistant":
        raise UselessRecordError(f"{where}: `{field}` must end in a turn of the assistant.", USER_LAST)
    before, worse = read_answer(record[rejected], turns[:-1], f"{where}: `{rejected}`")
    return [_make_pair(record, before, Completion(turns[-1].content), worse, where)]


def _read_whole_dialogues(
    record: DataRecord, chosen: str, rejected: str, where: str
) -> tuple[Turns, Completion, Completion]:
    """Two whole dialogues; the prompt is what precedes their last turns."""
    place = f"{where}: `{chosen}` and `{rejected}`"
    values: list[Any] = [record[chosen], record[rejected]]
    if all(is_dialogue(value) for value in values):
        return read_dialogue_pair(values[0], values[1], place)
    if any(isinstance(value, str) for value in values):
        raise UserError(explain_unknown(record, where))
    better, worse = (read_turns(value, "user", place) for value in values)
    if better[:-1] != worse[:-1] or {better[-1].role, worse[-1].role} != {"assistant"}:
        raise UselessRecordError(
            f"{place} must be the same dialogue up to a last turn of the assistant.",
            USER_LAST if "user" in (better[-1].role, worse[-1].role) else PROMPTS_DIFFER,
        )
    return better[:-1], Completion(better[-1].content), Completion(worse[-1].content)


def read_dialogue_pair(chosen: str, rejected: str, where: str) -> tuple[Turns, Completion, Completion]:
    """Two of HH-RLHF's strings, each a whole dialogue."""
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
    """Two answers, and a field that says which is better; of two equal ones the prompt is left."""
    value = record[says]
    choice = choices.get(_spell_choice(value))
    if choice is None:
        raise UserError(f"{where}: `{says}` must be one of {', '.join(choices)}, not {str(value)[:40]!r}.")
    return _choose(record, first, second, choice, None, where)


def read_preference_strength(
    first: str, second: str, says: str, record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Two answers, and a number: negative where the first is better, positive where the second is, 0 where neither."""
    strength = require_finite(record[says], f"{where}: `{says}`")
    choice = FIRST_BETTER if strength < 0 else SECOND_BETTER if strength > 0 else EQUAL
    return _choose(record, first, second, choice, abs(strength), where)


def read_two_scores(
    first: str, second: str, scores: tuple[str, str], record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Two answers, each with its score."""
    one, other = (require_finite(record[field], f"{where}: `{field}`") for field in scores)
    choice = FIRST_BETTER if one > other else SECOND_BETTER if one < other else EQUAL
    return _choose(record, first, second, choice, abs(one - other), where)


def _choose(
    record: DataRecord, first: str, second: str, choice: str, margin: float | None, where: str
) -> list[DialogueRow]:
    better, worse = (second, first) if choice == SECOND_BETTER else (first, second)
    if find_field(record, (*QUESTION_FIELDS, *DIALOGUE_FIELDS, "context", "history")) is None:
        turns, good, bad = _read_whole_dialogues(record, better, worse, where)
    else:
        turns = read_question(record, where)
        good, bad = (read_answer(record[field], turns, f"{where}: `{field}`")[1] for field in (better, worse))
    prompt = make_prompt(record, turns, where)
    return [DialogueRow(prompt) if choice == EQUAL else DialogueRow(prompt, good, bad, margin)]


def _spell_choice(value: Any) -> str:
    """A choice as small text, whole numbers without their point."""
    if isinstance(value, bool | float) and float(value).is_integer():
        value = int(value)
    return str(value).strip().casefold()


def read_ranking(texts: str, scores: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """Answers with their scores, in two lists. `ranks` are scores of which the smallest is the best."""
    answers, numbers = record[texts], record[scores]
    lists = isinstance(answers, list) and isinstance(numbers, list)
    if not lists or len(answers) != len(numbers) or len(answers) < 2:
        raise UserError(f"{where}: `{texts}` and `{scores}` must be two lists of one length, two or more.")
    sign = -1.0 if scores.startswith("rank") else 1.0
    values = [sign * require_finite(number, f"{where}: `{scores}`") for number in cast(list[Any], numbers)]
    return [_rank(record, list(zip(cast(list[Any], answers), values, strict=True)), f"{where}: `{texts}`", where)]


def read_ranked_answers(
    field: str, text: str, scores: tuple[str, ...], record: DataRecord, where: str, labels: FileLabels
) -> list[DialogueRow]:
    """Answers as mappings that hold a text and its score, the first of `scores` that all have (Nectar, UltraFeedback)."""
    place = f"{where}: `{field}`"
    answers = [answer for answer in cast(list[DataRecord], record[field]) if answer.get(text) is not None]
    by = next((name for name in scores if all(answer.get(name) is not None for answer in answers)), None)
    if by is None or not answers:
        return read_prompt_alone(record, where, labels)
    sign = -1.0 if by.startswith("rank") else 1.0
    pairs = [(answer[text], sign * require_finite(answer[by], f"{place}.{by}")) for answer in answers]
    return [_rank(record, pairs, place, where)]


def read_ordered(field: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """A list of answers, the best one first."""
    answers = cast(list[Any], record[field])
    pairs = [(answer, float(-place)) for place, answer in enumerate(answers)]
    row = _rank(record, pairs, f"{where}: `{field}`", where)
    return [DialogueRow(row.prompt, row.answer, row.rejected)] if len(answers) == 2 else [row]


def _rank(record: DataRecord, pairs: list[tuple[Any, float]], place: str, where: str) -> DialogueRow:
    """A row whose answers are ranked by their scores."""
    turns = require_question(read_question(record, where), where)
    answers = [(read_answer(text, turns, place)[1], score) for text, score in pairs]
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


def read_scored(score: str, record: DataRecord, where: str, labels: FileLabels) -> list[DialogueRow]:
    """One answer with a score and no other answer to compare it with: neither good nor bad, so that the prompt is left."""
    read_number(record, score, where)
    return read_prompt_alone(record, where, labels)
