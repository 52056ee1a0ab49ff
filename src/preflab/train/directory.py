"""Gives a directory to one run, named by its manifest, and to one writer at a time. Imports no torch."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import remove
from preflab.train.log import logger
from preflab.train.sealed import read_sealed, write_sealed

RUN_FORMAT = 1
RUN_MANIFEST = "manifest.json"
STUDY_MANIFEST = "study.json"
RESULT = "result.json"
RUN_FILES = ("metrics.jsonl", "samples.jsonl", "answers.jsonl", "timing.jsonl", RESULT, "wandb.json")
RUN_DIRECTORIES = ("checkpoints", "best", "final", "journal", "tensorboard")


@contextmanager
def locked(directory: Path, patience: float = 5.0) -> Generator[None]:
    """Makes a directory and locks it, so that this process is its only writer. Waits up to `patience` seconds for another
    writer to end. Raises `UserError` if the directory cannot be made or written, or if another process holds the lock for
    longer."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "lock").open("w")
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror}. Choose another --output.") from error
    with file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(f"Another process is writing {directory}. Wait for it, or stop it.") from error
                time.sleep(0.1)
        yield


def clear(directory: Path) -> None:
    """Removes what a run wrote and nothing else. If the directory has no manifest of a run, removes nothing. Raises
    `UserError` if the manifest is damaged.

    The manifest is removed last: if a crash leaves some files, the manifest still marks them as those of a run.
    """
    if read_manifest(directory) is None:
        return
    for name in (*RUN_DIRECTORIES, *RUN_FILES, RUN_MANIFEST):
        remove(directory / name)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of the run that a directory holds. Returns None if the directory has no `manifest.json`, or one that
    another program wrote. Raises `UserError` if the manifest is damaged."""
    path = directory / RUN_MANIFEST
    if not path.exists():
        return None
    advice = f"Restore it, choose another --output, or remove {directory} yourself."
    data = read_sealed(path, {}, advice=advice)
    if not ("format" in data and "spec" in data):
        return None
    return read_sealed(path, {"format": int, "spec": dict}, advice=advice)


@contextmanager
def withdrawn_when_refused(directory: Path) -> Generator[None]:
    """Removes a run's manifest again if the block raises `UserError` before the run has done anything, so that the user's
    corrected command can use the directory."""
    try:
        yield
    except UserError:
        if not has_begun(directory):
            clear(directory)
        raise


def has_begun(directory: Path) -> bool:
    """Whether a run has written anything that it could go on from."""
    folders = [path for name in RUN_DIRECTORIES for path in (directory / name).rglob("*")]
    work = [directory / RESULT, directory / "metrics.jsonl", *folders]
    return any(path.is_file() and path.stat().st_size for path in work)


def claim(directory: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest, or checks that the directory's manifest is that of this run. Raises `UserError`, which names what
    differs, if the two manifests differ. Returns the manifest in the directory; if the run resumes, this manifest has the
    date on which the run began.

    Also raises `UserError` if the directory holds a study, or files of another program that a run would overwrite.
    """
    if (directory / STUDY_MANIFEST).exists():
        raise UserError(f"{directory} holds a study, and a run needs a directory of its own. Choose another --output.")
    known = read_manifest(directory)
    if known is None:
        names = (RUN_MANIFEST, *RUN_FILES, *RUN_DIRECTORIES)
        foreign = next((name for name in names if (directory / name).exists()), None)
        if foreign is not None:
            raise UserError(
                f"{directory / foreign} was not written by a run, and a run would overwrite it. Choose another --output."
            )
        write_sealed(directory / RUN_MANIFEST, manifest)
        return dict(manifest)
    mine, theirs = manifest.get("spec", {}), known["spec"]
    if known["format"] != RUN_FORMAT or mine != theirs:
        changed = differing_paths(mine, theirs)
        raise UserError(
            f"{directory} holds another run (it differs in {', '.join(changed) or 'its format'}). "
            "Choose another --output, or start this one with --fresh."
        )
    edited = edited_files(known, manifest)
    if edited:
        raise UserError(
            f"{directory} holds a run of other code: {', '.join(edited)} has changed since it began. "
            "Choose another --output, or start this one with --fresh."
        )
    if known.get("versions") != manifest.get("versions"):
        changed = differing_paths(known.get("versions"), manifest.get("versions"))
        logger.warning(
            "%s was begun with other versions of %s: not repeatable bit by bit", directory, ", ".join(changed)
        )
    return known


def edited_files(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The user's functions and classes whose files differ between two manifests. If an older preflab wrote one of the
    manifests, the list is empty."""
    before, after = first.get("code"), second.get("code")
    return [] if before is None or after is None else differing_paths(before, after)


def differing_paths(first: Any, second: Any, prefix: str = "") -> list[str]:
    """The dotted names at which two pieces of plain data differ."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return [] if first == second else [prefix.rstrip(".")]
    names = sorted({*first, *second})
    return [name for key in names for name in differing_paths(first.get(key), second.get(key), f"{prefix}{key}.")]


def need_space(directory: Path, size: int) -> None:
    """Raises `UserError` if the disk has no room for a run of `size` bytes, which include the bytes that the run already
    holds."""
    held = sum(
        file.stat().st_size for name in RUN_DIRECTORIES for file in (directory / name).rglob("*") if file.is_file()
    )
    free = shutil.disk_usage(directory).free
    if size - held > free:
        raise UserError(
            f"{directory}: the run needs about {(size - held) / 2**30:.2f} GiB for its checkpoints and its model, and "
            f"{free / 2**30:.2f} GiB are free. Make room, or choose another --output."
        )
