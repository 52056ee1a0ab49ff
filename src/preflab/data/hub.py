"""Data sets from the Hugging Face hub, through `datasets`. A hub that does not answer is noticed within seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.models.hub import call_in_time, first_line

_PATIENCE = 9.0  # seconds


def list_hub_splits(name: str) -> list[str]:
    """The splits of a data set, `org/name` or `org/name:configuration`. Raises `UserError` when it does not load."""
    import datasets

    try:
        return list(datasets.get_dataset_split_names(*part_configuration(name)))
    except Exception as error:
        raise UserError(f"{name} does not load: {first_line(error)}") from error


def load_hub_records(name: str, folder: str | None, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records of a split of a data set on the hub, each with its place. `folder`: one folder of the data set, None for all.

    Raises `UserError` when they do not load. `HF_HUB_OFFLINE=1` takes what was fetched before.
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
    """The name of a data set and its configuration, None where none is named."""
    name, _, configuration = name.partition(":")
    return name, configuration or None


def fetch_hub_file(name: str, file: str) -> Path:
    """Fetches a file of a data set's repository, once. Raises `UserError` when it does not come."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(name, file, repo_type="dataset"))
    except Exception as error:
        raise UserError(f"{name}/{file} does not load: {first_line(error)}") from error


def check_on_hub(name: str) -> None:
    """Raises `UserError` when the hub has no such data set, or does not answer. Asks nothing under `HF_HUB_OFFLINE`."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE or Path(name).is_dir():
        return
    error = call_in_time(lambda: HfApi().dataset_info(name.partition(":")[0], timeout=_PATIENCE - 1), _PATIENCE)
    if error is not None:
        raise UserError(
            f"There is no folder {name}, and the hub gives no data set of that name: {first_line(error)}. Check name "
            "and network. If it was fetched before, set HF_HUB_OFFLINE=1. Or fetch the files and name their folder."
        ) from error


def load_saved_records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a data set that `datasets` saved in a folder. Raises `UserError` when it does not load."""
    import datasets

    try:
        rows: Any = datasets.load_from_disk(str(folder))
        for number, record in enumerate(rows, start=1):
            yield f"{folder}:{number}", dict(record)
    except Exception as error:
        raise UserError(f"{folder} does not load: {first_line(error)}") from error
