"""Loads cost models. A cost model is built like a reward model, but a higher score means a worse answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.models.heads import load_scorer
from preflab.models.lm import LanguageModel


def load_cost_model(path: Path, *, date: str = "") -> LanguageModel:
    """Loads a saved cost model with `load_scorer`. A higher score of a cost model means a worse answer. If preflab did
    not train the model, and the model's files do not state the meaning of its scores, the model counts as a cost model.
    Raises `UserError` if the directory contains a reward model."""
    lm = load_scorer(path, date=date)
    if lm.role == "reward" or (not lm.role and (path / TRAINED_ON).exists()):
        raise UserError(
            f"{path} is a reward model. The sign of its scores does not indicate safety. Give a cost model (method `cost`)."
        )
    return replace(lm, role="cost")
