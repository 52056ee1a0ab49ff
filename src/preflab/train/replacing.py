"""Replaces the run in a directory with a new run (`--fresh`).

The old run is moved aside. It is deleted when the new run has begun, that is, when the new run has saved its first
work. If the new run fails before this, for example because of a mistake in the command, the old run is restored. This
module does not import torch.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from preflab.train.directory import RUN_DIRECTORIES, RUN_FILES, RUN_MANIFEST, clear, has_begun, read_manifest
from preflab.train.files import remove
from preflab.train.own import RESULT, foreign_files, refuse_first, refuse_foreign, refuse_in_the_way

REPLACED = "replaced"
"""The folder of a run directory to which the old run is moved."""
RUN_PARTS = (*RUN_DIRECTORIES, *RUN_FILES, RUN_MANIFEST)
"""The parts of a run in the order in which they are moved aside. They are restored in the reverse order, so that the
records that list a run's files are moved last and restored first."""


@contextmanager
def replacing(directory: Path, *, fresh: bool) -> Generator[None]:
    """Surrounds the start of a run in the directory. If `fresh` is True, first moves the old run in the directory
    aside. At the end, deletes the old run if the new run has begun, and otherwise restores it. Raises `UserError`, and
    changes nothing, if the manifest of the old run is damaged, or if the run would delete files that no run wrote. The
    folders of a finished run that is not replaced are not checked, because such a run deletes nothing."""
    if fresh or not (directory / RESULT).exists():
        refuse_in_the_way(directory)
    settle(directory)
    if fresh:
        set_aside(directory)
    try:
        yield
    finally:
        settle(directory)


def set_aside(directory: Path) -> None:
    """Moves the files of a run into the folder `replaced`. The manifest is moved last: if it is not in the folder,
    `settle` restores all files."""
    if read_manifest(directory) is None:
        return
    refuse_foreign(directory)
    aside = directory / REPLACED
    aside.mkdir()
    for name in RUN_PARTS:
        if (directory / name).exists():
            os.replace(directory / name, aside / name)


def settle(directory: Path) -> None:
    """If the new run has begun, deletes the old run that was moved aside. Otherwise restores the old run. An earlier
    command, which was then killed, may have moved the old run. The manifest is restored first. Therefore, as long as
    the folder `replaced` holds the manifest, this folder holds all other files of the old run too."""
    refuse_foreign_copy(directory)
    drop_replaced(directory)
    aside = directory / REPLACED
    if not aside.exists():
        return
    if (aside / RUN_MANIFEST).exists():
        clear(directory)  # deletes what the new run wrote before it was refused
    for name in reversed(RUN_PARTS):
        if (aside / name).exists():
            os.replace(aside / name, directory / name)
    remove(aside)


def refuse_foreign_copy(directory: Path) -> None:
    """Raises `UserError` if the path to which an old run is moved is not a folder, or is a folder with other files, also
    within the folders of a run."""
    for folder in (directory / REPLACED, directory / f"{REPLACED}.tmp"):
        if not os.path.lexists(folder):
            continue
        is_folder = folder.is_dir() and not folder.is_symlink()
        unknown = [path for path in folder.iterdir() if path.name not in RUN_PARTS] if is_folder else [folder]
        refuse_first(unknown + [path for path in foreign_files(folder) if path.parent != folder])


def drop_replaced(directory: Path) -> None:
    """If the new run has begun, deletes the old run that was moved aside. The folder is renamed first, so that a run
    that is only partly deleted is never restored."""
    aside, doomed = directory / REPLACED, directory / f"{REPLACED}.tmp"
    if (aside / RUN_MANIFEST).exists() and has_begun(directory):
        os.replace(aside, doomed)
    remove(doomed)
