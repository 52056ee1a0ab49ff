"""Reads a record of a JSON lines file as a prompt with its answers. TRL's data formats are taken as they are.

| fields                         | what they make                                                          |
|--------------------------------|-------------------------------------------------------------------------|
| `prompt`                       | a prompt                                                                |
| `prompt`, `completion`         | a demonstration                                                         |
| ..., `label`                   | with it (true or false): an answer that is desirable, or is not         |
| `messages`                     | the same, as one dialogue; a last turn of the assistant is the answer   |
| `prompt`, `chosen`, `rejected` | a preference, whose chosen answer is also a demonstration               |
| `chosen`, `rejected`           | the same, as two whole dialogues that differ in the last turn           |
| `margin`, `probability`        | with these: by how much the chosen answer is better, how surely         |
| `prompt`, `completions`,       | a ranking; its best and worst answers are a preference whose margin is  |
| `scores`                       | the gap of their scores, and the best one a demonstration               |
| `tests`, `public_tests`        | with any of these, a problem: `[{"input": ..., "output": ...}, ...]`    |
| `special`                      | of a problem: the source of a program that judges what was printed      |

Wherever text may stand, a list of `{"role": ..., "content": ...}` may stand too. Other fields are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from preflab.errors import UserError
from preflab.testbeds.dialogues import DialogueRow, make_prompt_id
from preflab.testbeds.lines import check_text
from preflab.types import Completion, Problem, Prompt, Role, Test, Turn

_Turns = tuple[Turn, ...]
_Record = Mapping[str, Any]
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def parse_record(record: _Record, where: str) -> DialogueRow:
    """A record as a row; raises `UserError` naming file, line and field."""
    turns, answer, rejected = _read_dialogue(record, where)
    if not turns or turns[-1].role != "user":
        raise UserError(f"{where}: the prompt must end in a turn of the user, which the answer answers.")
    name = str(record["id"]) if record.get("id") is not None else make_prompt_id(turns)
    level = check_text(record.get("level", ""), f"{where}: `level`")
    public, hidden = (_read_tests(record, field, where) for field in ("public_tests", "tests"))
    prompt = Problem(name, turns, level, public, hidden) if public or hidden else Prompt(name, turns, level)
    margin, probability = _read_number(record, "margin", where), _read_number(record, "probability", where)
    if probability is not None and not 0 <= probability <= 1:
        raise UserError(f"{where}: `probability` must lie between 0 and 1, not {probability:g}.")
    if margin is not None and margin < 0:
        raise UserError(f"{where}: `margin` says by how much the chosen answer is better: at least 0, not {margin:g}.")
    if "completion" in record and record.get("label") in (True, False):  # 1 and 0 are equal to them
        good, bad = (answer, None) if record["label"] else (None, answer)
        return DialogueRow(prompt, good, bad, rated=True)
    if "completions" not in record or "scores" not in record:
        return DialogueRow(prompt, answer, rejected, margin, probability)
    if answer is not None:
        raise UserError(f"{where}: `completions` with `scores` are a ranking; leave the other answers out.")
    return _read_ranking(prompt, record, where)


def _read_dialogue(record: _Record, where: str) -> tuple[_Turns, Completion | None, Completion | None]:
    """The prompt's turns, the answer to imitate, and the rejected one."""
    if "messages" in record:
        turns = _read_turns(record["messages"], "user", f"{where}: `messages`")
        answered = turns[-1].role == "assistant"
        return (turns[:-1], Completion(turns[-1].content), None) if answered else (turns, None, None)
    if ("chosen" in record) != ("rejected" in record):
        present, absent = ("chosen", "rejected") if "chosen" in record else ("rejected", "chosen")
        raise UserError(f"{where}: `{present}` without `{absent}`; a preference needs both.")
    if "prompt" not in record:
        return _read_whole_dialogues(record, where)
    prompt = _read_turns(record["prompt"], "user", f"{where}: `prompt`")
    fields = [field for field in ("completion", "chosen", "rejected") if field in record]
    answers = {field: _read_answer(record[field], prompt, f"{where}: `{field}`") for field in fields}
    return prompt, answers.get("chosen", answers.get("completion")), answers.get("rejected")


def _read_whole_dialogues(record: _Record, where: str) -> tuple[_Turns, Completion, Completion]:
    """Two whole dialogues; the prompt is what precedes their last turns."""
    if "chosen" not in record:
        raise UserError(f"{where}: neither `prompt` nor `messages` (present: {', '.join(record) or 'nothing'}).")
    if isinstance(record["chosen"], str):
        raise UserError(f"{where}: `prompt` is missing; without it `chosen` and `rejected` must be lists of messages.")
    chosen, rejected = (_read_turns(record[field], "user", f"{where}: `{field}`") for field in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1] or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise UserError(
            f"{where}: `chosen` and `rejected` must be the same dialogue up to a last turn of the assistant."
        )
    return chosen[:-1], Completion(chosen[-1].content), Completion(rejected[-1].content)


def _read_answer(value: Any, prompt: _Turns, where: str) -> Completion:
    """An answer: text, or messages that hold it, alone or behind the prompt."""
    turns = _read_turns(value, "assistant", where)
    if turns[-1].role != "assistant" or turns[:-1] not in ((), prompt):
        raise UserError(f"{where} must be one turn of the assistant, alone or behind the prompt's own turns.")
    return Completion(turns[-1].content)


def _read_turns(value: Any, role: Role, where: str) -> _Turns:
    """Text as one turn of `role`, or a list of messages."""
    if not isinstance(value, list):
        return (Turn(role, check_text(value, where)),)
    turns = tuple(_read_turn(message, f"{where}[{number}]") for number, message in enumerate(value))
    if not turns:
        raise UserError(f"{where} is an empty list.")
    return turns


def _read_turn(message: Any, where: str) -> Turn:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        raise UserError(f'{where} must be {{"role": ..., "content": ...}}, not {json.dumps(message)[:60]}.')
    role: Any = message["role"]
    if role not in _ROLES:
        raise UserError(f"{where}: the role must be one of {', '.join(_ROLES)}, not {role!r}.")
    return Turn(_ROLES[role], check_text(message["content"], f"{where}.content"))


def _read_ranking(prompt: Prompt, record: _Record, where: str) -> DialogueRow:
    """A row whose answers are ranked by their scores."""
    texts, scores = record["completions"], record["scores"]
    if not (isinstance(texts, list) and isinstance(scores, list)) or len(texts) != len(scores) or len(texts) < 2:
        raise UserError(f"{where}: `completions` and `scores` must be two lists of one length, two or more.")
    answers = [_read_answer(text, prompt.turns, f"{where}: `completions`") for text in texts]
    numbers = [_require_finite(score, f"{where}: `scores`") for score in scores]
    ranked = sorted(zip(answers, numbers, strict=True), key=lambda row: -row[1])
    (best, high), (worst, low) = ranked[0], ranked[-1]
    apart = high > low
    return DialogueRow(prompt, best, worst if apart else None, high - low if apart else None, None, tuple(ranked))


def _read_number(record: _Record, field: str, where: str) -> float | None:
    """A number that may be absent."""
    return None if record.get(field) is None else _require_finite(record[field], f"{where}: `{field}`")


def _require_finite(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where} must be a finite number, not {json.dumps(value)[:40]}.")
    return float(value)


def _read_tests(record: _Record, field: str, where: str) -> tuple[Test, ...]:
    value = record.get(field) or []
    tests: list[Any] = value if isinstance(value, list) else [value]
    for number, test in enumerate(tests):
        if not isinstance(test, dict) or set(test) != {"input", "output"}:
            raise UserError(
                f'{where}: `{field}`[{number}] must be {{"input": ..., "output": ...}}, not {json.dumps(test)[:60]}.'
            )
    special = record.get("special")
    if special is not None:
        check_text(special, f"{where}: `special`")
    return tuple(Test(test["input"], test["output"], special) for test in tests)
