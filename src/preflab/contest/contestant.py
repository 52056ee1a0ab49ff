"""Reads the names of contestants: policies, the data's own answers, models behind an endpoint, and files of answers.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from preflab.errors import UserError
from preflab.paths import user_path

AnswerSource = Literal["model", "data", "endpoint", "file"]
DATA_ANSWERS = ("chosen", "rejected")
_NAMED = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99})=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Entrant:
    """A contestant. name: its name in results. source: where its answers come from. members: one source of answers for
    each seed of the contestant, such as the name of a model, the path of a file, or `data:chosen`."""

    name: str
    source: AnswerSource
    members: tuple[str, ...]


def parse_contestants(texts: Sequence[str]) -> list[Entrant]:
    """Reads at least two contestants. Raises `UserError` for fewer contestants, for two contestants with the same name,
    and if two contestants with several seeds have different numbers of seeds."""
    contestants = [parse_contestant(text) for text in texts]
    if len(contestants) < 2:
        raise UserError("Give at least two contestants, such as `preflab winrate runs/dpo/final data:chosen`.")
    for one, other in combinations(contestants, 2):
        if one.name == other.name:
            raise UserError(f"Two contestants are called {one.name!r}. Name them: first={one.name} second=...")
        sizes = {len(each.members) for each in (one, other)} - {1}
        if len(sizes) > 1:
            raise UserError(
                f"{one.name} has {len(one.members)} seeds and {other.name} has {len(other.members)}. Give every contestant "
                "one seed, or the same number of seeds."
            )
    return contestants


def parse_contestant(text: str) -> Entrant:
    """Reads `[NAME=]SOURCE[,SOURCE...]`. A source is a model (a directory, a finished run or a hub name), `data:chosen`,
    `openai:MODEL` or a file of answers. Each of several sources is one seed of the contestant."""
    named = None if user_path(text).exists() else _NAMED.fullmatch(text)
    name, rest = (named[1], named[2]) if named else (text, text)
    members = (rest,) if user_path(rest).exists() else tuple(rest.split(","))
    sources: list[AnswerSource] = [_find_source(member) for member in members]
    if len(set(sources)) > 1:
        raise UserError(f"The seeds of {name} are of different kinds: {', '.join(sources)}. Give sources of one kind.")
    return Entrant(name, sources[0], tuple(member.removeprefix("openai:") for member in members))


def _find_source(text: str) -> AnswerSource:
    kind, _, rest = text.partition(":")
    if kind == "data":
        if rest not in DATA_ANSWERS:
            raise UserError(f"{text!r} names no answers of the data. Write data:chosen or data:rejected.")
        return "data"
    if kind == "openai":
        if not rest:
            raise UserError(f"{text!r} names no model. Write openai:MODEL.")
        return "endpoint"
    path = user_path(text)
    if path.is_file():
        return "file"
    if not text or (not path.is_dir() and path.suffix in (".jsonl", ".json", ".gz")):
        raise UserError(f"There is no file {text!r}. Name a file of answers, a model, data:chosen or openai:MODEL.")
    return "model"
