"""What preflab must know of saved weights and no other file says, in a file beside them."""

from __future__ import annotations

from pathlib import Path

from preflab.spec import Spec, read_spec

FACTS_FILE = "preflab.json"
TRAINED_ON = "trained_on.json"
"""Beside a product: the provenance of what it was trained on."""


class SavedFacts(Spec):
    """`notices`: sentences that every report on the weights must show. `date`: the day that the chat template wrote while they
    were trained. `closing`: the ids that close an answer of which a reward model reads the score, at the last one."""

    notices: tuple[str, ...] = ()
    date: str = ""
    closing: tuple[int, ...] | None = None


def write_facts(directory: Path, facts: SavedFacts) -> None:
    """Writes the facts beside saved weights; without any, no file."""
    if facts != SavedFacts():
        text = facts.model_dump_json(indent=1, exclude_defaults=True)
        (directory / FACTS_FILE).write_text(text + "\n", encoding="utf-8")


def read_facts(directory: Path) -> SavedFacts:
    """The facts beside saved weights. Raises `UserError` where their file is damaged."""
    path = directory / FACTS_FILE
    return read_spec(SavedFacts, path) if path.exists() else SavedFacts()
