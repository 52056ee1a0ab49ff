"""Reads the files of a finished run, and checks that the files were not changed later. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from preflab.errors import UserError
from preflab.train.directory import RESULT, RUN_MANIFEST
from preflab.train.files import sha256
from preflab.train.own import ANSWERS, FINAL, METRICS, SAMPLES
from preflab.train.sealed import Form, read_sealed

RECORDS = (METRICS, SAMPLES, ANSWERS)
"""The files of a run that are read after the run, apart from `result.json`. `result.json` contains their checksums."""
RESULT_FORM: Form = {"diverged": str | NoneType, "counts": dict}


def read_result(directory: Path, form: Form = RESULT_FORM) -> dict[str, Any]:
    """Returns the content of a run's `result.json`. Raises `UserError` if this file is missing or damaged."""
    result = read_sealed(directory / RESULT, form)
    if not isinstance(result.get("files", {}), dict):  # the result of an unfinished run has no `files`
        raise UserError(
            f"{directory / RESULT} is damaged: `files` does not contain checksums. Restore it, or start again with --fresh."
        )
    return result


def checksums(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in `RECORDS` and in `final/`, by path in the run directory. `result.json` stores
    these checksums as `files`."""
    paths = [directory / name for name in RECORDS]
    paths += sorted((directory / FINAL).rglob("*"))
    return {str(path.relative_to(directory)): sha256(path) for path in paths if path.is_file()}


def altered_files(directory: Path, result: Mapping[str, Any], within: str = "") -> list[str]:
    """Returns the files of a finished run that are missing or have changed since the run wrote them. Checks only paths
    that begin with `within`."""
    kept: Mapping[str, str] = result.get("files", {})
    return [
        name
        for name, digest in kept.items()
        if name.startswith(within) and not ((directory / name).is_file() and sha256(directory / name) == digest)
    ]


def check_written(directory: Path, result: Mapping[str, Any], within: str) -> None:
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
    return is_there and not ((directory / RESULT).exists() and altered_files(directory, read_result(directory), FINAL))


def check_product(path: Path) -> None:
    """Checks the files in `final/` of a finished run if `path` is `final/` or a path directly in `final/`. Raises
    `UserError` if a file is missing or has changed since the run wrote it. Does nothing if `path` is outside a run
    directory, for example if `path` is a copy of a model."""
    for place in (path, path.parent):
        run = place.parent
        if place.name == FINAL and (run / RUN_MANIFEST).exists() and (run / RESULT).exists():
            altered = altered_files(run, read_result(run), FINAL)
            if altered:
                raise UserError(
                    f"{run / altered[0]} is missing or was changed after the run. Repeat the run with --fresh. If you changed "
                    f"the file on purpose, copy {place} to another directory and use the copy."
                )
