"""Loads cost models. A cost model has the shape of a reward model, but a higher score is worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from preflab.errors import UserError
from preflab.models.facts import TRAINED_ON
from preflab.models.heads import load_scorer
from preflab.models.lm import LanguageModel


def load_cost_model(path: Path, *, date: str = "") -> LanguageModel:
    """Loads a saved cost model. It has the shape of a reward model, but a higher score is worse. A classifier from
    elsewhere that does not say what its scores mean is taken to be a cost model. Raises `UserError` if the directory
    contains a reward model. See `load_scorer`."""
    lm = load_scorer(path, date=date)
    if lm.role == "reward" or (not lm.role and (path / TRAINED_ON).exists()):
        raise UserError(
            f"{path} is a reward model. The sign of its scores says nothing about safety. Name a cost model (method `cost`)."
        )
    return replace(lm, role="cost")
