"""Reads dialogues in all usual forms: a list of messages, a text as in HH-RLHF, or a list of questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from preflab.data.hh_strings import is_dialogue, join_turns, parse_dialogue
from preflab.data.lines import check_text
from preflab.data.row import Turns
from preflab.data.turns import read_turns
from preflab.data.written import holds_messages, parse_messages
from preflab.errors import UserError
from preflab.types import Role, Turn


def read_dialogue(value: Any, where: str) -> Turns:
    """Returns the turns of a dialogue. The dialogue is a list of messages, a list of questions and answers, or a text
    with `Human:` and `Assistant:` before the turns. Raises `UserError` for any other text, because such a text would
    become a single turn."""
    value = _unwrap(value)
    exchanges = _list_exchanges(value)
    if exchanges is not None:
        texts = [text for exchange in exchanges for text in exchange]
        return _alternate(texts if texts[-1] is not None else texts[:-1], where)
    if is_dialogue(value):
        return join_turns(parse_dialogue(check_text(value, where), where))
    if isinstance(value, str) and parse_messages(value, where) is None:
        raise UserError(
            f"{where} must be a list of messages, or text with `Human:` and `Assistant:` after blank lines, not "
            f"{value[:40]!r}. If the text is a single question, give the name of this field as the prompt: "
            "`fields: {prompt: ...}`."
        )
    return read_turns(value, "user", where)


def _unwrap(value: Any) -> Any:
    """Returns the dialogue if the value is a list that contains a single dialogue, as in AceCode. Returns any other
    value unchanged."""
    items = cast(list[Any], value) if isinstance(value, list) else []
    return items[0] if len(items) == 1 and holds_messages(items[0]) else value


def _list_exchanges(value: Any) -> list[list[Any]] | None:
    """Returns the texts of a dialogue without names of speakers: `[question, answer, ...]` (LIMA), or `[{"input":
    question, "output": answer}, ...]` (Capybara). Returns None for any other value."""
    items = cast(list[Any], value) if isinstance(value, list) else []
    if items and all(isinstance(item, str) for item in items):
        return [items]
    if items and all(isinstance(item, dict) and {"input", "output"} <= item.keys() for item in items):
        return [[item["input"], item["output"]] for item in items]
    return None


def _alternate(texts: Sequence[Any], where: str) -> Turns:
    """Returns the texts as turns of alternating roles. The first turn belongs to the user, and the second turn belongs
    to the assistant."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(Turn(roles[place % 2], check_text(text, f"{where}[{place}]")) for place, text in enumerate(texts))


def read_exchanges(value: Any, where: str) -> Turns:
    """Returns the earlier questions and answers of a dialogue as turns. `value` is a list `[[question, answer], ...]`,
    or a list of messages."""
    pairs = cast(list[Any], value) if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(cast(list[Any], pair)) == 2 for pair in pairs):
        return read_turns(pairs, "user", where) if pairs else ()
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(
        Turn(role, check_text(text, where)) for pair in pairs for role, text in zip(roles, pair, strict=True) if text
    )
