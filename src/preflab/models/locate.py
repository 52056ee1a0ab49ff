"""Finds the directory of a saved reward model or cost model by the model's path, or by its name on the hub."""

from __future__ import annotations

from pathlib import Path

from preflab.models.load import fetch_from_hub
from preflab.models.spec import HUB_NAME, ModelSpec
from preflab.paths import user_path


def locate_scorer(name: str) -> Path:
    """Returns the directory of a saved reward model or cost model. `name`: the path of the model, or `owner/name` of a
    model on the hub. A model on the hub is downloaded."""
    local = user_path(name)
    return local if local.exists() or not HUB_NAME.fullmatch(name) else fetch_from_hub(ModelSpec(name=name))
