"""Parses the contestants of a command line. A contestant is a model, the chosen or rejected answers of the data, a model
behind an endpoint, or a file of answers.

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
    """A contestant. name: the contestant's name in the results. source: the type of the sources in `members`. members:
    one source of answers for each seed, such as the name of a model, the path of a file, or `data:chosen`."""

    name: str
    source: AnswerSource
    members: tuple[str, ...]


def parse_contestants(texts: Sequence[str]) -> list[Entrant]:
    """Parses the contestants of a contest. Raises `UserError` if there are fewer than two contestants, if two
    contestants have the same name, or if two contestants with several seeds have different numbers of seeds."""
    contestants = [parse_contestant(text) for text in texts]
    if len(contestants) < 2:
        raise UserError("Give at least two contestants, such as `preflab winrate runs/dpo/final data:chosen`.")
    for one, other in combinations(contestants, 2):
        if one.name == other.name:
            raise UserError(f"Two contestants are called {one.name!r}. Give them names: first={one.name} second=...")
        sizes = {len(each.members) for each in (one, other)} - {1}
        if len(sizes) > 1:
            raise UserError(
                f"{one.name} has {len(one.members)} seeds and {other.name} has {len(other.members)}. Contestants "
                "with several seeds need equal numbers of seeds. Add or remove sources."
            )
    return contestants


def parse_contestant(text: str) -> Entrant:
    """Parses a contestant from the text `[NAME=]SOURCE[,SOURCE...]`. A source is a model (a directory, a finished run or
    a hub name), `data:chosen`, `data:rejected`, `openai:MODEL` or a file of answers. If there are several sources, each
    source gives the answers of one seed."""
    named = None if user_path(text).exists() else _NAMED.fullmatch(text)
    name, rest = (named[1], named[2]) if named else (text, text)
    members = (rest,) if user_path(rest).exists() else tuple(rest.split(","))
    sources: list[AnswerSource] = [_find_source(member) for member in members]
    if len(set(sources)) > 1:
        raise UserError(f"The sources of {name} have different types: {', '.join(sources)}. Give sources of one type.")
    return Entrant(name, sources[0], tuple(member.removeprefix("openai:") for member in members))


def _find_source(text: str) -> AnswerSource:
    kind, _, rest = text.partition(":")
    if kind == "data":
        if rest not in DATA_ANSWERS:
            raise UserError(f"{text!r} is not a set of answers in the data. Write data:chosen or data:rejected.")
        return "data"
    if kind == "openai":
        if not rest:
            raise UserError(f"{text!r} lacks the name of a model. Write openai:MODEL.")
        return "endpoint"
    path = user_path(text)
    if path.is_file():
        return "file"
    if not text or (not path.is_dir() and path.suffix in (".jsonl", ".json", ".gz")):
        raise UserError(f"There is no file {text!r}. Name a file of answers, a model, data:chosen or openai:MODEL.")
    return "model"
