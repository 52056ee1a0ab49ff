"""Describes the training data of evaluator models that preflab did not train. The descriptions come from the user."""

from __future__ import annotations

from pathlib import Path

from preflab.arm.spec import Arm, stage_path
from preflab.models.facts import TRAINED_ON


def origin_notes(arm: Arm, stages: Path) -> list[str]:
    """Returns a sentence for the report about each evaluator model that preflab did not train. The sentence quotes the
    user's description of the model's training data."""
    origins = {path: text for evaluator in arm.evaluators.values() for path, text in evaluator.origins().items()}
    return [
        f"The evaluator's model {path} was made elsewhere. It was trained on: {text.rstrip('.')}. preflab cannot check this."
        for path, text in origins.items()
        if not (stage_path(path, stages) / TRAINED_ON).exists()
    ]
