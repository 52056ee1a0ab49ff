"""Reads the files of a finished run, and checks that the files were not changed later. Does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from preflab.errors import UserError
from preflab.spec import explain
from preflab.train.directory import RESULT, RUN_MANIFEST
from preflab.train.files import sha256
from preflab.train.ownership import ANSWERS, FINAL, METRICS, SAMPLES
from preflab.train.sealed import Stored, read_sealed

RECORDS = (METRICS, SAMPLES, ANSWERS)
"""The files of a run that are read after the run, apart from `result.json`. `result.json` contains their checksums."""


class AnyResult(Stored, frozen=True):
    """The fields that every `result.json` contains, for every method. `diverged`: why training stopped without a
    result; None if the run ended well. `files`: the checksums of the files that the run wrote."""

    diverged: str | None
    files: dict[str, str] = {}


ResultOf = TypeVar("ResultOf", bound=AnyResult)


def read_result(directory: Path, record: type[ResultOf]) -> ResultOf:
    """Returns the content of a run's `result.json` as a record of this class. Raises `UserError`, which names the file and
    the faulty field, if the file is missing or damaged."""
    path = directory / RESULT
    try:
        return record.model_validate(read_sealed(path, {}))
    except ValidationError as error:
        fault = explain(record, error).splitlines()[0]
        raise UserError(f"{path} is damaged: {fault} Restore it, or start again with --fresh.") from error


def checksums(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in `RECORDS` and in `final/`, by path in the run directory. `result.json` stores
    these checksums as `files`."""
    paths = [directory / name for name in RECORDS]
    paths += sorted((directory / FINAL).rglob("*"))
    return {str(path.relative_to(directory)): sha256(path) for path in paths if path.is_file()}


def altered_files(directory: Path, result: AnyResult, within: str = "") -> list[str]:
    """Returns the files of a finished run that are missing or have changed since the run wrote them. Checks only paths
    that begin with `within`."""
    return [
        name
        for name, digest in result.files.items()
        if name.startswith(within) and not ((directory / name).is_file() and sha256(directory / name) == digest)
    ]


def check_written(directory: Path, result: AnyResult, within: str) -> None:
    """Raises `UserError` if a file of a finished run is missing or has changed. Checks only paths that begin with
    `within`."""
    altered = altered_files(directory, result, within)
    if altered:
        raise UserError(
            f"{directory / altered[0]} is missing or was changed after the run. Restore this file, or remove {directory} and "
            "repeat the run."
        )


def has_product(directory: Path) -> bool:
    """Returns True if the saved output of a run exists. If the run has a result, the output must also be unchanged."""
    is_there = (directory / FINAL).is_dir()
    if not is_there or not (directory / RESULT).exists():
        return is_there
    return not altered_files(directory, read_result(directory, AnyResult), FINAL)


def check_product(path: Path) -> None:
    """Checks the files in `final/` of a finished run if `path` is `final/` or a path directly in `final/`. Raises
    `UserError` if a file is missing or has changed since the run wrote it. Does nothing if `path` is outside a run
    directory, for example if `path` is a copy of a model."""
    for place in (path, path.parent):
        run = place.parent
        if place.name == FINAL and (run / RUN_MANIFEST).exists() and (run / RESULT).exists():
            altered = altered_files(run, read_result(run, AnyResult), FINAL)
            if altered:
                raise UserError(
                    f"{run / altered[0]} is missing or was changed after the run. Repeat the run with --fresh. If you changed "
                    f"the file on purpose, copy {place} to another directory and use the copy."
                )
