"""Reads what a finished run wrote, and checks that it is still as the run wrote it. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from preflab.errors import UserError
from preflab.train.directory import RESULT, RUN_MANIFEST
from preflab.train.files import sha256
from preflab.train.sealed import Form, read_sealed

FINAL = "final"
"""The directory that holds what a run trained."""
RECORDS = ("metrics.jsonl", "samples.jsonl", "answers.jsonl")
"""The files that a run writes beside its result and that are read later. The result holds the checksum of each file."""
RESULT_FORM: Form = {"diverged": str | NoneType, "counts": dict}


def read_result(directory: Path, form: Form = RESULT_FORM) -> dict[str, Any]:
    """What a run's `result.json` holds. Raises `UserError` if this file is missing or damaged."""
    return read_sealed(directory / RESULT, form)


def checksums(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file that a run has written, by path. `result.json` holds these checksums as `files`."""
    paths = [directory / name for name in RECORDS]
    paths += sorted((directory / FINAL).rglob("*"))
    return {str(path.relative_to(directory)): sha256(path) for path in paths if path.is_file()}


def altered_files(directory: Path, result: Mapping[str, Any], within: str = "") -> list[str]:
    """The files of a finished run that are gone or no longer as the run wrote them. Checks only paths that begin with
    `within`."""
    kept: Mapping[str, str] = result.get("files", {})
    return [
        name
        for name, digest in kept.items()
        if name.startswith(within) and not ((directory / name).is_file() and sha256(directory / name) == digest)
    ]


def check_written(directory: Path, result: Mapping[str, Any], within: str) -> None:
    """Raises `UserError` if `altered_files` finds a file of a finished run that is gone or no longer as the run wrote it."""
    altered = altered_files(directory, result, within)
    if altered:
        raise UserError(
            f"{directory / altered[0]} is not as the finished run wrote it. Restore it, or remove {directory} and run it again."
        )


def has_product(directory: Path) -> bool:
    """Whether what a run trained is there and, if the run has a result, still as the run wrote it."""
    is_there = (directory / FINAL).is_dir()
    return is_there and not ((directory / RESULT).exists() and altered_files(directory, read_result(directory), FINAL))


def check_product(path: Path) -> None:
    """Raises `UserError` if `path` is the `final/` directory of a finished run, or lies in this directory, and a file of the
    directory is no longer as the run wrote it. A path outside a run, such as that of a copy, is not checked."""
    for place in (path, path.parent):
        run = place.parent
        if place.name == FINAL and (run / RUN_MANIFEST).exists() and (run / RESULT).exists():
            altered = altered_files(run, read_result(run), FINAL)
            if altered:
                raise UserError(
                    f"{run / altered[0]} is not as the run wrote it. Train it again (--fresh), or, where you changed it on "
                    f"purpose, copy {place} elsewhere and use the copy."
                )
