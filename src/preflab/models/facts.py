"""The facts about saved weights that preflab must know and that no other file holds, in a file beside the weights."""

from __future__ import annotations

from pathlib import Path

from preflab.spec import Spec, read_spec

FACTS_FILE = "preflab.json"
TRAINED_ON = "trained_on.json"
"""The file beside a trained model that holds the provenance of its training data."""


class SavedFacts(Spec):
    """`notices`: sentences that every report on the weights must show. `date`: the day that the chat template wrote while
    the weights were trained. `closing`: the ids that close an answer for a reward model, which reads the score at the last
    of these ids."""

    notices: tuple[str, ...] = ()
    date: str = ""
    closing: tuple[int, ...] | None = None


def write_facts(directory: Path, facts: SavedFacts) -> None:
    """Writes the facts beside saved weights; writes no file if there are no facts."""
    if facts != SavedFacts():
        text = facts.model_dump_json(indent=1, exclude_defaults=True)
        (directory / FACTS_FILE).write_text(text + "\n", encoding="utf-8")


def read_facts(directory: Path) -> SavedFacts:
    """Reads the facts beside saved weights. Raises `UserError` if their file is damaged."""
    path = directory / FACTS_FILE
    return read_spec(SavedFacts, path) if path.exists() else SavedFacts()
