"""Reads one message of a dialogue: the role of its speaker, and its text."""

from __future__ import annotations

import json
from typing import Any, cast

from preflab.data.labels import LABEL_FIELDS
from preflab.data.lines import check_text
from preflab.data.row import NO_TEXT, DataRecord, UselessRecordError
from preflab.errors import UserError
from preflab.types import Role, Turn

_SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "chatbot", "model", "ai"),
        "assistant",
    ),
}
"""Maps each name of a speaker that may occur in a message, in lower case, to a role."""
_PAIRS = (("from", "value"), ("role", "content"), ("role", "value"), ("from", "content"))
"""Pairs of fields that a message may have. The first field contains the name of the speaker. The second field contains
the text of the message."""
_CALLS = ("tool_calls", "function_call")
_WEIGHTS = ("weight", "loss", "train")
"""Fields of a message in the formats of OpenAI, ms-swift and axolotl. The value 0 or false excludes the message from
training."""
_READ_KEYS = frozenset((*(name for pair in _PAIRS for name in pair), *_CALLS, *_WEIGHTS))
_TOOL_NAMES = (
    "tool function tool_call function_call tool_response function_response tool_result observation environment ipython"
)
_TOOLS = frozenset(_TOOL_NAMES.split())
_TEXT_TYPES = (None, "text", "input_text", "output_text")
"""Values of the field `type` that mark a part of a message as text."""


def ends_in_question(value: Any) -> bool:
    """Checks whether the value is a list of messages whose last message belongs to the user."""
    last = cast(list[Any], value)[-1] if isinstance(value, list) and value else None
    fields = cast(DataRecord, last) if isinstance(last, dict) else {}
    pair = _find_pair(fields)
    return pair is not None and _SPEAKERS.get(_spell_speaker(fields[pair[0]])) == "user"


def read_message(message: Any, where: str) -> Turn:
    """Returns a message as a turn. The field `role` or `from` names the speaker. The field `content` or `value`
    contains the text."""
    fields = cast(DataRecord, message) if isinstance(message, dict) else {}
    if any(fields.get(name) for name in _CALLS):
        raise UselessRecordError(f"{where} contains a tool call. preflab does not train on tool calls.", NO_TEXT)
    pair = _find_pair(fields)
    if pair is None:
        raise UserError(
            f'{where} must be {{"role": ..., "content": ...}}, not {json.dumps(message, default=str)[:60]}.'
        )
    name = _spell_speaker(fields[pair[0]])
    if name in _TOOLS:
        raise UselessRecordError(f"{where} is a turn of `{name}`. preflab does not train on turns of tools.", NO_TEXT)
    if name not in _SPEAKERS:
        raise UserError(f"{where}: the role must be one of system, user, assistant, not {name!r}.")
    return Turn(_SPEAKERS[name], _read_content(fields[pair[1]], f"{where}.{pair[1]}"))


def _find_pair(fields: DataRecord) -> tuple[str, str] | None:
    """Returns the names of the fields that contain the speaker and the text of a message. Returns None if the message
    does not have both fields. The field for the text may be null. If several pairs of fields fit, a pair whose text is
    not null is preferred."""
    said = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and fields.get(pair[1]) is not None)
    empty = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and pair[1] in fields)
    return next(said, None) or next(empty, None)


def _spell_speaker(value: Any) -> str:
    return value.strip().casefold() if isinstance(value, str) else json.dumps(value, default=str)


def is_untrained(message: Any) -> bool:
    """Checks whether a message is marked as excluded from training."""
    return isinstance(message, dict) and any(cast(DataRecord, message).get(name) in (0,) for name in _WEIGHTS)


def list_unread_keys(value: Any, *, labelled: bool = False) -> set[str]:
    """Returns the keys that have a value in the messages but are not read, such as a key for the reasoning before an
    answer. `labelled`: whether the labels of the last message are read."""
    messages = cast(list[Any], value) if isinstance(value, list) else [value]
    answer = messages[-1] if labelled and messages else None
    return {
        name
        for message in messages
        if isinstance(message, dict) and _find_pair(cast(DataRecord, message)) is not None
        for name, held in cast(DataRecord, message).items()
        if name not in _READ_KEYS and not is_empty(held) and not (message is answer and _is_label(name, held))
    }


def is_empty(value: Any) -> bool:
    """Checks whether the value of a field is empty."""
    return value in (None, "", [], {})


def _is_label(name: str, value: Any) -> bool:
    return name.casefold() in LABEL_FIELDS and isinstance(value, bool)


def _read_content(value: Any, where: str) -> str:
    """Returns the text of a message's content. The content is a text, or a list of parts that are all text. Raises
    `UselessRecordError` if the content is null or has a part that is not text."""
    parts = cast(list[Any], value) if isinstance(value, list) else []
    if value is None or any(isinstance(part, dict) and not _is_text(cast(DataRecord, part)) for part in parts):
        raise UselessRecordError(
            f"{where} contains something other than text (an image, a sound or a tool call).", NO_TEXT
        )
    if parts and all(isinstance(part, dict) for part in parts):
        return "".join(check_text(part["text"], where) for part in parts)
    return check_text(value, where)


def _is_text(part: DataRecord) -> bool:
    """Checks whether a part of a message is text. A part that is an image may also have a field `text`, which is then
    empty."""
    return part.get("text") is not None and part.get("type") in _TEXT_TYPES
