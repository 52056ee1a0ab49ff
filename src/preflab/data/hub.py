"""Loads data sets from the Hugging Face hub. First checks that the hub answers. This check takes at most a few
seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line

_PATIENCE = 9.0  # seconds


def list_hub_splits(name: str) -> list[str]:
    """Returns the names of the splits of a data set on the hub. `name`: `org/name` or `org/name:configuration`. Raises
    `UserError` if the data set does not load."""
    import datasets

    try:
        return list(datasets.get_dataset_split_names(*part_configuration(name)))
    except Exception as error:
        raise UserError(f"{name} does not load: {first_line(error)}") from error


def load_hub_records(name: str, folder: str | None, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the records of one split of a data set on the hub, each with its place. `folder`: if it is not None, only
    the files in this folder of the data set are read.

    Raises `UserError` if the records do not load. If `HF_HUB_OFFLINE=1` is set, reads the data from the local cache.
    """
    import datasets

    place = "/".join(filter(None, (name, folder)))
    try:
        rows: Any = datasets.load_dataset(*part_configuration(name), data_dir=folder, split=split)
        for number, record in enumerate(rows, start=1):
            yield f"{place}/{split}:{number}", record
    except Exception as error:
        raise UserError(f"{place} ({split}) does not load: {first_line(error)}") from error


def part_configuration(name: str) -> tuple[str, str | None]:
    """Splits `name:configuration` into the name of the data set and the configuration. The configuration is None if the
    text contains no configuration."""
    name, _, configuration = name.partition(":")
    return name, configuration or None


def fetch_hub_file(name: str, file: str) -> Path:
    """Returns the local path of a file from the repository of a data set. Downloads the file if it is not in the local
    cache. Raises `UserError` if the download fails."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(name, file, repo_type="dataset"))
    except Exception as error:
        raise UserError(f"{name}/{file} does not load: {first_line(error)}") from error


def check_on_hub(name: str) -> None:
    """Raises `UserError` if the hub has no data set with this name, or if the hub does not answer. Does nothing if
    `HF_HUB_OFFLINE` is set or if `name` is a local folder."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE or Path(name).is_dir():
        return
    error = call_in_time(lambda: HfApi().dataset_info(name.partition(":")[0], timeout=_PATIENCE - 1), _PATIENCE)
    if error is not None:
        raise UserError(
            f"There is no folder {name}, and the hub returns no data set of that name: {first_line(error)}. Check the "
            "name and the network. If the data set was downloaded before, set HF_HUB_OFFLINE=1. Or download its files "
            "and give their folder."
        ) from error
