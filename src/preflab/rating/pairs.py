"""Defines the pairs of answers that people rate, and their labels. Reads the file of pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from preflab.errors import UserError
from preflab.plain import decode_text, parse_json, refuse_repeated_keys
from preflab.text import brief
from preflab.types import Role, Turn

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_FIELDS = ("id", "prompt", "first", "second")


@dataclass(frozen=True, slots=True)
class RatedPair:
    """Two answers to one dialogue. `id`: a name that is unique among the pairs that are rated together."""

    id: str
    prompt: tuple[Turn, ...]
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Label:
    """A person's label of a pair. `outcome`: 1 if the first answer is better, .5 for a tie, 0 if the second answer is
    better. `seconds`: how long the rater looked at the pair."""

    pair: str
    rater: str
    outcome: float
    seconds: float


def read_pairs(path: Path) -> list[RatedPair]:
    """Reads pairs from a file of JSON lines, `{"id", "prompt", "first", "second"}`. `prompt` is a text, or a list of
    turns with `role` and `content`. Raises `UserError` if a line is not a pair. The error names the file and the
    line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    lines = decode_text(content, str(path)).split("\n")
    pairs = [_read_pair(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    check_pairs(pairs, str(path))
    return pairs


def check_pairs(pairs: Sequence[RatedPair], where: str) -> None:
    """Raises `UserError` if there are no pairs, or if two pairs have the same id. `where`: the beginning of the error
    message."""
    if not pairs:
        raise UserError(f"{where}: there are no pairs to rate. Give one JSON object in each line, with {_FIELDS}.")
    known: set[str] = set()
    for pair in pairs:
        if pair.id in known:
            raise UserError(f"{where}: two pairs have the id {brief(pair.id)}. Give each pair a different id.")
        known.add(pair.id)


def write_pair(pair: RatedPair) -> dict[str, Any]:
    """Returns a pair as plain data (JSON), in the form that `read_pairs` reads."""
    turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
    return {"id": pair.id, "prompt": turns, "first": pair.first, "second": pair.second}


def digest_pairs(pairs: Sequence[RatedPair]) -> str:
    """Returns a SHA-256 digest that depends on the ids, the texts and the order of the pairs."""
    return hashlib.sha256(json.dumps([write_pair(pair) for pair in pairs]).encode()).hexdigest()


def name_prompts(pairs: Sequence[RatedPair]) -> dict[str, str]:
    """Maps the id of each pair to a name for the pair's prompt. Pairs with the same dialogue get the same name."""
    texts = {pair.id: json.dumps([[turn.role, turn.content] for turn in pair.prompt]) for pair in pairs}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}


def _read_pair(line: str, where: str) -> RatedPair:
    data = parse_json(line, where, pairs=refuse_repeated_keys)
    if not isinstance(data, dict):
        raise UserError(f"{where}: the line is not a JSON object with {_FIELDS}.")
    record = cast("dict[str, Any]", data)
    missing = [name for name in _FIELDS if name not in record]
    unknown = [name for name in record if name not in _FIELDS]
    if missing or unknown:
        fault = f"`{missing[0]}` is missing" if missing else f"unknown key {brief(unknown[0])}"
        raise UserError(f"{where}: {fault}. A pair has exactly the keys {', '.join(_FIELDS)}.")
    texts = {name: record[name] for name in _FIELDS if name != "prompt"}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UserError(f"{where}: `{name}` must be text, not {brief(text)}.")
    if not record["id"]:
        raise UserError(f"{where}: `id` is empty. Give each pair an id.")
    return RatedPair(record["id"], _read_turns(record["prompt"], where), record["first"], record["second"])


def _read_turns(prompt: Any, where: str) -> tuple[Turn, ...]:
    if isinstance(prompt, str):
        return (Turn("user", prompt),)
    turns = cast("list[Any]", prompt) if isinstance(prompt, list) else []
    if not turns or not all(_is_turn(turn) for turn in turns):
        raise UserError(
            f"{where}: `prompt` must be a text, or a list of turns with a `role` ({', '.join(ROLES)}) and a text as "
            f"`content`, not {brief(prompt)}."
        )
    return tuple(Turn(turn["role"], turn["content"]) for turn in turns)


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ROLES and isinstance(turn.get("content"), str)
