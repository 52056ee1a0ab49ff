"""Reads one message: who speaks, and what is said."""

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
"""Maps each speaker that a message may name, in lower case, to a role."""
_PAIRS = (("from", "value"), ("role", "content"), ("role", "value"), ("from", "content"))
"""Pairs of fields of a message: the first field names the speaker, and the second holds what is said."""
_CALLS = ("tool_calls", "function_call")
_WEIGHTS = ("weight", "loss", "train")
"""Fields that say, by 0 or false, that a turn is not to be learned from (OpenAI, ms-swift, axolotl)."""
_READ_KEYS = frozenset((*(name for pair in _PAIRS for name in pair), *_CALLS, *_WEIGHTS))
_TOOL_NAMES = (
    "tool function tool_call function_call tool_response function_response tool_result observation environment ipython"
)
_TOOLS = frozenset(_TOOL_NAMES.split())
_TEXT_TYPES = (None, "text", "input_text", "output_text")
"""What the `type` of a part of a message says if the part is text."""


def ends_in_question(value: Any) -> bool:
    """Checks whether the value is a list of messages, the last of which is the user's."""
    last = cast(list[Any], value)[-1] if isinstance(value, list) and value else None
    fields = cast(DataRecord, last) if isinstance(last, dict) else {}
    pair = _find_pair(fields)
    return pair is not None and _SPEAKERS.get(_spell_speaker(fields[pair[0]])) == "user"


def read_message(message: Any, where: str) -> Turn:
    """Reads a message, which names a speaker (`role` or `from`) and what is said (`content` or `value`)."""
    fields = cast(DataRecord, message) if isinstance(message, dict) else {}
    if any(fields.get(name) for name in _CALLS):
        raise UselessRecordError(f"{where} holds a tool call, which preflab does not train on.", NO_TEXT)
    pair = _find_pair(fields)
    if pair is None:
        raise UserError(
            f'{where} must be {{"role": ..., "content": ...}}, not {json.dumps(message, default=str)[:60]}.'
        )
    name = _spell_speaker(fields[pair[0]])
    if name in _TOOLS:
        raise UselessRecordError(f"{where} is a turn of `{name}`, which preflab does not train on.", NO_TEXT)
    if name not in _SPEAKERS:
        raise UserError(f"{where}: the role must be one of system, user, assistant, not {name!r}.")
    return Turn(_SPEAKERS[name], _read_content(fields[pair[1]], f"{where}.{pair[1]}"))


def _find_pair(fields: DataRecord) -> tuple[str, str] | None:
    """Returns the fields that name the speaker of a message and what is said; None if it has no such fields. What is
    said may be null."""
    said = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and fields.get(pair[1]) is not None)
    empty = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and pair[1] in fields)
    return next(said, None) or next(empty, None)


def _spell_speaker(value: Any) -> str:
    return value.strip().casefold() if isinstance(value, str) else json.dumps(value, default=str)


def is_untrained(message: Any) -> bool:
    """Checks whether a message says that it is not to be learned from."""
    return isinstance(message, dict) and any(cast(DataRecord, message).get(name) in (0,) for name in _WEIGHTS)


def list_unread_keys(value: Any, *, labelled: bool = False) -> set[str]:
    """Returns the keys that hold a value in a message or in a list of messages but are not read, such as the reasoning
    before an answer. `labelled`: whether the labels of the last message are read."""
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
    """Checks whether a field holds nothing."""
    return value in (None, "", [], {})


def _is_label(name: str, value: Any) -> bool:
    return name.casefold() in LABEL_FIELDS and isinstance(value, bool)


def _read_content(value: Any, where: str) -> str:
    """Reads the content of a message: text, or a list of parts that are all text."""
    parts = cast(list[Any], value) if isinstance(value, list) else []
    if value is None or any(isinstance(part, dict) and not _is_text(cast(DataRecord, part)) for part in parts):
        raise UselessRecordError(
            f"{where} contains something other than text (an image, a sound or a tool call).", NO_TEXT
        )
    if parts and all(isinstance(part, dict) for part in parts):
        return "".join(check_text(part["text"], where) for part in parts)
    return check_text(value, where)


def _is_text(part: DataRecord) -> bool:
    """Checks whether a part of a message is text. An image may have a field for text too, which is empty."""
    return part.get("text") is not None and part.get("type") in _TEXT_TYPES
