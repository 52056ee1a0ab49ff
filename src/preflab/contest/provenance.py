"""Checks that the judge's reward models were not trained on the same data as a contestant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from preflab.arm.data import read_provenance
from preflab.arm.saved import find_saved_model
from preflab.contest.contestant import Entrant
from preflab.evaluation.preference.spec import JudgeSettings
from preflab.models.facts import TRAINED_ON
from preflab.paths import user_path
from preflab.testbeds.provenance import refuse_overlap


def check_training_data(judge: JudgeSettings, contestants: Sequence[Entrant]) -> Iterator[str]:
    """Yields a note for each of the judge's reward models with unknown training data. Raises `UserError` if a reward
    model and a contestant were trained on the same data, because the reward model is not an independent judge of this
    contestant."""
    for model in judge.saved_models():
        record = user_path(model) / TRAINED_ON
        if not record.exists():
            yield (
                f"The training data of {model} are unknown. A contestant was possibly trained on the same data, or with this "
                "model as its reward."
            )
            continue
        trained = [row for path in trained_models(contestants) for row in read_provenance(path / TRAINED_ON)]
        for row in read_provenance(record):
            refuse_overlap(row, trained)


def trained_models(contestants: Sequence[Entrant]) -> Iterator[Path]:
    """Yields the directory of each model that is a contestant, if this directory contains a record of the model's
    training data."""
    for contestant in contestants:
        for member in contestant.members:
            if contestant.source == "model" and user_path(member).is_dir():
                model = find_saved_model(user_path(member))
                if (model / TRAINED_ON).exists():
                    yield model
