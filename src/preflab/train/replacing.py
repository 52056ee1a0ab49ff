"""Replaces the run in a directory with a new run (`--fresh`).

The old run is moved to the folder `replaced`. When the new run has saved its first work, the old run is deleted. If the
new run fails earlier, for example because of a mistake in the command, the old run is restored. This module does not
import torch.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from preflab.train.directory import RUN_DIRECTORIES, RUN_FILES, RUN_MANIFEST, clear, has_begun, read_manifest
from preflab.train.files import remove
from preflab.train.ownership import RESULT, foreign_files, refuse_first, refuse_foreign, refuse_in_the_way

REPLACED = "replaced"
"""The folder of a run directory to which the old run is moved."""
RUN_PARTS = (*RUN_DIRECTORIES, *RUN_FILES, RUN_MANIFEST)
"""The parts of a run in the order in which they are moved to `replaced`. They are restored in the reverse order. The
records that list a run's files are therefore moved last and restored first."""


@contextmanager
def replacing(directory: Path, *, fresh: bool) -> Generator[None]:
    """A context in which a run starts in the directory. If `fresh` is True, first moves the old run to the folder
    `replaced`. At the end, deletes the old run if the new run has saved work. Otherwise, restores the old run. Raises
    `UserError`, and changes nothing, if the manifest of the old run is damaged, or if the run would delete files that
    no run wrote. If the directory contains a finished run and `fresh` is False, the files are not checked, because
    nothing will be deleted."""
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
    """Moves the files of a run into the folder `replaced`. The manifest is moved last. If a crash interrupts the move,
    `replaced` has no manifest, and `settle` restores the moved files."""
    if read_manifest(directory) is None:
        return
    refuse_foreign(directory)
    aside = directory / REPLACED
    aside.mkdir()
    for name in RUN_PARTS:
        if (directory / name).exists():
            os.replace(directory / name, aside / name)


def settle(directory: Path) -> None:
    """Deletes the old run in the folder `replaced` if the new run has saved work. Otherwise, restores the old run. The
    old run can also come from an earlier command that was killed. The manifest is restored first. As long as `replaced`
    contains the manifest, it therefore contains all other files of the old run too."""
    refuse_foreign_copy(directory)
    drop_replaced(directory)
    aside = directory / REPLACED
    if not aside.exists():
        return
    if (aside / RUN_MANIFEST).exists():
        clear(directory)  # deletes the files that the new run wrote before it failed
    for name in reversed(RUN_PARTS):
        if (aside / name).exists():
            os.replace(aside / name, directory / name)
    remove(aside)


def refuse_foreign_copy(directory: Path) -> None:
    """Raises `UserError` if `replaced` is not a folder, or if it contains files that no run wrote, for example in the
    folders of the old run. Checks `replaced.tmp` in the same way."""
    for folder in (directory / REPLACED, directory / f"{REPLACED}.tmp"):
        if not os.path.lexists(folder):
            continue
        is_folder = folder.is_dir() and not folder.is_symlink()
        unknown = [path for path in folder.iterdir() if path.name not in RUN_PARTS] if is_folder else [folder]
        refuse_first(unknown + [path for path in foreign_files(folder) if path.parent != folder])


def drop_replaced(directory: Path) -> None:
    """Deletes the old run in the folder `replaced` if the new run has saved work. Renames the folder first, so that a
    run that is only partly deleted is never restored."""
    aside, doomed = directory / REPLACED, directory / f"{REPLACED}.tmp"
    if (aside / RUN_MANIFEST).exists() and has_begun(directory):
        os.replace(aside, doomed)
    remove(doomed)
