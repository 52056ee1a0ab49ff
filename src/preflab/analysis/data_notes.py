"""Collects the notes on the training data of a study's runs, so that the report prints each note once. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflab.arm.result import TrainedResult

RunResults = Mapping[str, Sequence[TrainedResult]]
"""Maps each arm or stage to the results of its finished runs."""


def collect_data_notes(arms: RunResults, stages: RunResults) -> list[str]:
    """Returns the notes on the training data of arms and stages, each note once. If a note does not apply to all arms,
    the text begins with the names of the arms and stages to which the note applies."""
    names_of: dict[str, list[str]] = {}
    for name, results in (*arms.items(), *((f"stage {name}", results) for name, results in stages.items())):
        for note in dict.fromkeys(note for result in results for note in result.data_notes):
            names_of.setdefault(note, []).append(name)
    shared = {note for note, names in names_of.items() if arms.keys() <= set(names)}
    return [note if note in shared else f"{', '.join(names)}: {note}" for note, names in names_of.items()]
