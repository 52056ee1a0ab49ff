"""Reads and writes the file `preflab.json` beside saved weights. It contains facts about the model that no other file
contains."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from preflab.spec import Spec, read_spec

FACTS_FILE = "preflab.json"
TRAINED_ON = "trained_on.json"
"""The name of the file, beside a trained model, that records the sources of its training data."""


ScoreRole = Literal["", "reward", "cost"]
"""The meaning of a higher score of a model: a better answer (reward) or a more harmful answer (cost). '' if the meaning
is not known."""


class SavedFacts(Spec):
    """The contents of `preflab.json`. `notices`: sentences that every report on the weights must show. `date`: the date
    that the chat template wrote during training. `closing`: the ids that end an answer for a reward model. The reward
    model computes its score at the last of these ids. `role`: the meaning of a higher score (see `ScoreRole`)."""

    notices: tuple[str, ...] = ()
    date: str = ""
    closing: tuple[int, ...] | None = None
    role: ScoreRole = ""


def write_facts(directory: Path, facts: SavedFacts) -> None:
    """Writes the facts to `preflab.json` in the directory of the weights. Writes no file if all facts have their
    default values."""
    if facts != SavedFacts():
        text = facts.model_dump_json(indent=1, exclude_defaults=True)
        (directory / FACTS_FILE).write_text(text + "\n", encoding="utf-8")


def read_facts(directory: Path) -> SavedFacts:
    """Returns the facts from `preflab.json` in the directory of the weights. Returns the default values if there is no
    such file. Raises `UserError` if the file is damaged."""
    path = directory / FACTS_FILE
    return read_spec(SavedFacts, path) if path.exists() else SavedFacts()
