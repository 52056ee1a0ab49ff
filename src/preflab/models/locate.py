"""Finds the directory of a saved policy, reward model or cost model. The model is given by its path, or by its name on
the hub."""

from __future__ import annotations

from pathlib import Path

from preflab.errors import UserError
from preflab.models.load import fetch_from_hub
from preflab.models.spec import HUB_NAME, ModelSpec
from preflab.paths import user_path


def locate_scorer(name: str) -> Path:
    """Returns the local directory of a saved reward model or cost model. `name`: the path of the directory, or the name
    of a model on the hub (`owner/name` or `owner/name@revision`). A model on the hub is downloaded."""
    local = user_path(name)
    is_local = local.exists() or not HUB_NAME.fullmatch(name)
    return local if is_local else fetch_from_hub(ModelSpec.model_validate(name))


def locate_policy(name: str) -> Path:
    """Returns the local directory of a policy. `name`: the path of the directory, or the name of a model on the hub
    (`owner/name`). A model on the hub is downloaded. Raises `UserError` if `name` is neither a directory nor the name
    of a model on the hub."""
    place = locate_scorer(name)
    if not place.exists():
        raise UserError(
            f"There is no policy {name!r}: it is neither a directory nor the name of a model on the hub (owner/name). Give the "
            "directory of a saved policy, such as a run's `final`, or a model on the hub."
        )
    return place
