"""Reads messages that were written as text. Programs write messages as text when they save a table, for example."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from itertools import pairwise
from typing import Any, cast

from preflab.errors import UserError

_LISTED = re.compile(r"\s*\[\s*\{\s*['\"](?:role|content|from|value)['\"]\s*:")
_SPEAKERS, _TEXTS = ("role", "from"), ("content", "value")


def parse_messages(text: str, where: str) -> list[Any] | None:
    """Returns the messages in a text that is a list of messages, written as JSON or as a Python literal. Returns None
    for any other text. Raises `UserError` if the text begins like a list of messages but cannot be read."""
    if not begins_like_messages(text):
        return None
    value = parse_literal(text)
    if value is None:
        raise UserError(
            f"{where} begins like a list of messages, but is neither JSON nor Python: {text[:40]!r}. "
            "In CSV files from pandas or numpy, the commas between messages are missing. Write Parquet or JSON lines instead."
        )
    return cast(list[Any], value) if holds_messages(value) else None


def begins_like_messages(text: str) -> bool:
    """Checks whether a text begins like a list of messages that was written as JSON or as a Python literal."""
    return _LISTED.match(text) is not None


def parse_literal(text: str) -> Any:
    """Returns the value of a text that is JSON or a Python literal. Returns None for any other text. Also returns None
    for a list of strings without commas between them. numpy writes such lists, and Python would join their strings into
    one."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text.strip())
        return None if _joins_texts(text) else value
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _joins_texts(text: str) -> bool:
    """Checks whether a text contains two string literals side by side, without a comma between them."""
    tokens = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
    kinds = [token.type for token in tokens if token.type != tokenize.NL]
    return any(kind == other == tokenize.STRING for kind, other in pairwise(kinds))


def holds_messages(value: Any) -> bool:
    """Checks whether the value is a list of one or more messages."""
    messages = cast(list[Any], value) if isinstance(value, list) else []
    return bool(messages) and all(is_message(message) for message in messages)


def is_message(value: Any) -> bool:
    """Checks whether the value is a mapping with a field for the speaker and a field for the text."""
    return (
        isinstance(value, dict) and any(name in value for name in _SPEAKERS) and any(name in value for name in _TEXTS)
    )
