"""Reads the prompt of a record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

from preflab.data.exchanges import read_dialogue, read_exchanges
from preflab.data.lines import check_text
from preflab.data.numbers import SCORE_FIELDS, read_level
from preflab.data.problems import HIDDEN_FIELDS, PUBLIC_FIELDS, read_tests
from preflab.data.row import DataRecord, Turns, make_prompt_id
from preflab.data.turns import drop_system, get_system, read_prompt_turns, require_question
from preflab.data.written import holds_messages
from preflab.errors import UserError
from preflab.types import Problem, Prompt, Turn

QUESTION_FIELDS = ("prompt", "question", "query", "instruction", "problem", "input", "inputs")
"""Names of the fields that may contain the question. If a record has several of these fields, the question is read from
the first one in this list."""
DIALOGUE_FIELDS = ("messages", "conversations", "conversation", "dialogue", "dialog", "context_messages")
TRAJECTORY = "trajectory"
"""The field in UltraInteract's records that contains the dialogue before the two answers."""
_SYSTEM_FIELDS = ("system", "system_prompt")
PROMPT_FIELDS = frozenset((*QUESTION_FIELDS, *DIALOGUE_FIELDS, *_SYSTEM_FIELDS, "context", "history"))
"""All fields from which a prompt can be read. `name_prompt_fields` returns the fields that are read in a given
record."""
_MORE_FIELDS = ("input", "context")
"""Names of the fields that may contain a text to which the question refers, as in Alpaca, Dolly and SQuAD."""
_STATED = (
    "id",
    "level",
    "special",
    "margin",
    "probability",
    "test_imports",
    "test_setup_code",
    "fn_name",
    "entry_point",
)
COMMON_FIELDS = frozenset(
    (
        *_STATED,
        *_SYSTEM_FIELDS,
        "history",
        *PUBLIC_FIELDS,
        *HIDDEN_FIELDS,
        *(name for pair in SCORE_FIELDS for name in pair),
    )
)
"""Fields that are read in records of every shape, in addition to the fields of the shape."""


def find_field(record: DataRecord, fields: Iterable[str]) -> str | None:
    """Returns the first of `fields` that the record has. Returns None if the record has none of these fields."""
    return next((name for name in fields if name in record), None)


def find_filled(record: DataRecord, fields: Sequence[str]) -> str | None:
    """Returns the first of `fields` that the record has and whose value is not the empty string. If all these values
    are empty strings, returns the first of `fields` that the record has. Returns None if the record has none of these
    fields."""
    return find_field(record, (name for name in fields if record.get(name) != "")) or find_field(record, fields)


def find_question(record: DataRecord) -> str | None:
    """Returns the name of the field from which `read_question` reads the question. A field with a value is preferred to
    an empty field. Returns None if the record has no field for a question."""
    others = {
        "context": isinstance(
            record.get("context"), list
        ),  # in HelpSteer3, `context` is a dialogue (a list); in Dolly, `context` is a text that belongs to the question
        TRAJECTORY: holds_messages(record.get(TRAJECTORY)),
        "history": isinstance(record.get("history"), str),  # SHP
    }
    return find_filled(record, (*QUESTION_FIELDS, *DIALOGUE_FIELDS, *(name for name, fits in others.items() if fits)))


def name_prompt_fields(record: DataRecord, question: str | None) -> frozenset[str]:
    """Returns the names of the fields from which the prompt of a record is read. `question`: the name of the field that
    contains the question."""
    beside = _MORE_FIELDS if question in QUESTION_FIELDS else ()
    system = find_filled(record, _SYSTEM_FIELDS)
    history = "history" if isinstance(record.get("history"), list) else None
    return frozenset(name for name in (question, *beside, system, history) if name is not None)


def read_question(record: DataRecord, where: str) -> Turns:
    """Returns the turns of a record's prompt, read from a field that contains the question but no answer. Raises
    `UserError` if the record has no such field."""
    field = find_question(record)
    if field is None:
        raise UserError(explain_unknown(record, where))
    place = f"{where}: `{field}`"
    if field in DIALOGUE_FIELDS or field in ("context", TRAJECTORY):
        turns = read_dialogue(record[field], place)
        return surround(record, turns[:-1] if turns[-1].role == "assistant" else turns, where)
    value = record[field]
    if isinstance(value, dict) and "messages" in value:  # OpenAI's preference format
        value = cast(DataRecord, value)["messages"]
    elif isinstance(value, dict) and "full_text" in value:  # WebGPT
        value = cast(DataRecord, value)["full_text"]
    turns = read_prompt_turns(value, place)
    for name in _MORE_FIELDS:
        if name in record and name != field:
            turns = _add_text(turns, _read_more(record[name], f"{where}: `{name}`"))
    return surround(record, turns, where)


def _read_more(value: Any, where: str) -> str:
    """Returns the text to which a question refers. The value is a text, or a list of passages, which are joined."""
    passages = cast(list[Any], value) if isinstance(value, list) else [value]
    if not all(isinstance(passage, str) for passage in passages):
        raise UserError(
            f"{where} belongs to the question. The field must contain text or a list of texts, not "
            f"{json.dumps(value, default=str)[:60]}. To ignore this field, map it to null in `fields`."
        )
    return "\n\n".join(check_text(passage, where) for passage in passages if passage)


def _add_text(turns: Turns, text: str) -> Turns:
    """Returns the turns with `text` added to the last turn. If the last turn does not belong to the user, or already
    contains the text, returns the turns unchanged."""
    last = turns[-1]
    if last.role != "user" or text in last.content:
        return turns
    return (*turns[:-1], Turn("user", "\n\n".join(filter(None, (last.content, text)))))


def read_whole(record: DataRecord, field: str, where: str) -> Turns:
    """Returns all turns of a dialogue in `field`, including a last answer. A system message and a history from other
    fields come first."""
    return surround(record, read_dialogue(record[field], f"{where}: `{field}`"), where)


def surround(record: DataRecord, turns: Turns, where: str) -> Turns:
    """Returns the turns with the record's system message and history before them. The system message and the history
    are optional. A system message or a history with which the turns already begin is not added again."""
    first, later = get_system(turns), drop_system(turns)
    if isinstance(record.get("history"), list):
        earlier = read_exchanges(record["history"], f"{where}: `history`")
        later = later if later[: len(earlier)] == earlier else (*earlier, *later)
    system = find_filled(record, _SYSTEM_FIELDS)
    if system is not None and not first and (text := check_text(record[system], f"{where}: `{system}`")):
        first = (Turn("system", text),)
    return (*first, *later)


def make_prompt(record: DataRecord, turns: Turns, where: str) -> Prompt:
    """Returns a prompt with the turns `turns`, and with the id and the level of the record. If the record has tests,
    the prompt is a `Problem` with these tests."""
    turns = require_question(turns, where)
    name = str(record["id"]) if "id" in record else make_prompt_id(turns)
    level = read_level(record, f"{where}: `level`")
    public, hidden = (read_tests(record, fields, where) for fields in (PUBLIC_FIELDS, HIDDEN_FIELDS))
    return Problem(name, turns, level, public, hidden) if public or hidden else Prompt(name, turns, level)


def explain_unknown(record: DataRecord, where: str) -> str:
    """Returns the error message for a record that fits no known shape."""
    for present, absent in (("chosen", "rejected"), ("rejected", "chosen")):
        if present in record and absent not in record:
            return f"{where}: the record has `{present}` but not `{absent}`. A preference needs both fields."
    if "chosen" in record:
        return f"{where}: `prompt` is missing. Without `prompt`, `chosen` and `rejected` must be lists of messages."
    return (
        f"{where}: there is neither `prompt` nor `messages` (present: {', '.join(record) or 'nothing'}). "
        "Set the names of the fields to read: `fields: {prompt: ..., completion: ...}`."
    )
