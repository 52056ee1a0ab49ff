"""Reserves a directory for one run, and locks it for one process. The manifest in the directory describes the run.

This module does not import torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train.files import remove
from preflab.train.lock import LOCK, remove_empty, take_lock
from preflab.train.log import RUN_LOG, logger
from preflab.train.ownership import (
    ANSWERS,
    FINAL,
    METRICS,
    PRODUCT,
    REPLIES,
    RESULT,
    SAMPLES,
    TIMING,
    foreign_files,
    refuse_foreign,
)
from preflab.train.sealed import Form, read_sealed, write_sealed

RUN_FORMAT = 1
RUN_MANIFEST = "manifest.json"
STUDY_MANIFEST = "study.json"
RUN_FILES = (METRICS, SAMPLES, ANSWERS, TIMING, PRODUCT, RESULT, "wandb.json")
RUN_DIRECTORIES = ("checkpoints", "best", FINAL, "journal", "tensorboard", REPLIES)


@contextmanager
def locked(directory: Path, patience: float = 5.0) -> Generator[None]:
    """Creates a directory and locks it, so that no other process writes in it. If another process has the lock, waits
    up to `patience` seconds. Raises `UserError` if the directory cannot be created or written, or if the other process
    still has the lock after this time. If the block raises `UserError` and the directory then contains neither a run
    nor a study, removes what this process created: the lock file, the log, and the directories if they are empty."""
    made = [place for place in (directory, *directory.parents) if not os.path.lexists(place)]
    lock = take_lock(directory, patience)
    with lock.file:
        kept = os.path.lexists(directory / RUN_LOG)
        try:
            yield
        except UserError:
            if not any(os.path.lexists(directory / name) for name in (RUN_MANIFEST, STUDY_MANIFEST)):
                for name in (*([LOCK] if lock.is_new else []), *([] if kept else [RUN_LOG])):
                    (directory / name).unlink(missing_ok=True)
                remove_empty(made)
            raise


def clear(directory: Path) -> None:
    """Removes only the files that a run wrote. Removes nothing if the directory has no manifest of a run. Raises
    `UserError`, and removes nothing, if the manifest is damaged or if a folder of the run contains a file that the run
    did not write. Also raises `UserError` if a file cannot be removed.

    The manifest is removed last. If a crash interrupts the removal, the manifest still shows that a run wrote the
    files.
    """
    if read_manifest(directory) is None:
        return
    refuse_foreign(directory)
    for name in (*RUN_DIRECTORIES, *RUN_FILES, RUN_MANIFEST):
        remove(directory / name)
        if os.path.lexists(directory / name):
            raise UserError(f"{directory / name} cannot be deleted. Delete it yourself, or choose another --output.")


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Returns the manifest of the run in a directory. Returns None if there is no `manifest.json`, or if another
    program wrote this file. Raises `UserError` if the manifest is damaged."""
    path = directory / RUN_MANIFEST
    if not os.path.lexists(path):
        return None
    advice = f"Restore it, choose another --output, or remove {directory} yourself."
    data = read_sealed(path, {}, advice=advice)
    if not ("format" in data and "spec" in data):
        return None
    form: Form = {"format": int, "spec": dict}
    optional: Form = {
        "date": str,
        "versions": dict,
        "code": dict,
    }  # the manifest of an older preflab lacks these fields
    form = {**form, **{name: kind for name, kind in optional.items() if name in data}}
    return read_sealed(path, form, advice=advice)


@contextmanager
def manifest_removed_if_refused(directory: Path) -> Generator[None]:
    """Removes the manifest of a new run if the block raises `UserError` before the run has saved any work. The user can
    then use the same directory for the corrected command."""
    try:
        yield
    except UserError:
        if not has_begun(directory) and not foreign_files(directory):
            clear(directory)
        raise


def has_begun(directory: Path) -> bool:
    """Returns True if a run has saved work in the directory, such as metrics, checkpoints or a result."""
    folders = [path for name in RUN_DIRECTORIES for path in (directory / name).rglob("*")]
    work = [directory / RESULT, directory / METRICS, *folders]
    return any(path.is_file() and path.stat().st_size for path in work)


def claim(directory: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the manifest into a new directory, or checks that the manifest in the directory describes the same run.
    Returns the manifest in the directory. If the run resumes, this manifest has the date on which the run began.

    Raises `UserError` if the manifest in the directory differs. The message names the differences. Also raises
    `UserError` if the directory belongs to a study, or contains files of another program that a run would overwrite.
    """
    if (directory / STUDY_MANIFEST).exists():
        raise UserError(f"{directory} holds a study, but a run needs a separate directory. Choose another --output.")
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
            "Choose another --output, or replace the other run with --fresh."
        )
    edited = edited_files(known, manifest)
    if edited:
        raise UserError(
            f"The code of {', '.join(edited)} has changed since the run in {directory} began. "
            "Choose another --output, or start again with --fresh."
        )
    if known.get("versions") != manifest.get("versions"):
        changed = differing_paths(known.get("versions"), manifest.get("versions"))
        logger.warning(
            "the run in %s began with other versions of %s; its results can differ slightly from the results of a new run",
            directory,
            ", ".join(changed),
        )
    return known


def edited_files(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Returns the names of the user's functions and classes whose source files differ between two manifests. Returns []
    if one manifest was written by an older preflab and does not record these files."""
    before, after = first.get("code"), second.get("code")
    return [] if before is None or after is None else differing_paths(before, after)


def differing_paths(first: Any, second: Any, prefix: str = "") -> list[str]:
    """Returns the dotted names, such as `method.optim.beta1`, at which two nested dictionaries differ. If the two
    dictionaries have different values of `kind`, such as two methods, returns only the name of `kind`, because the
    other settings cannot be compared."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return [] if first == second else [prefix.rstrip(".")]
    if first.get("kind") != second.get("kind"):
        return [f"{prefix}kind"]
    names = sorted({*first, *second})
    return [name for key in names for name in differing_paths(first.get(key), second.get(key), f"{prefix}{key}.")]


def need_space(directory: Path, size: int) -> None:
    """Raises `UserError` if the disk has too little free space for a run of `size` bytes. `size` includes the files
    that the run has already written. These files need no further space."""
    held = sum(
        file.stat().st_size for name in RUN_DIRECTORIES for file in (directory / name).rglob("*") if file.is_file()
    )
    free = shutil.disk_usage(directory).free
    if size - held > free:
        raise UserError(
            f"The run in {directory} needs about {(size - held) / 2**30:.2f} GiB for its checkpoints and its model, but "
            f"only {free / 2**30:.2f} GiB are free. Make room, or choose another --output."
        )
