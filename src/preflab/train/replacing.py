"""Lets a new run take the place of the run in its directory (`--fresh`). The old run is set aside, and deleted once the new
run has begun: until then a mistake in the new command costs nothing. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from preflab.train.directory import RUN_DIRECTORIES, RUN_FILES, RUN_MANIFEST, clear, has_begun, read_manifest
from preflab.train.files import remove

REPLACED = "replaced"
"""The folder of a run directory that holds the run that was set aside."""


@contextmanager
def replacing(directory: Path, *, fresh: bool) -> Generator[None]:
    """While open, a run may begin in the directory. If `fresh`, sets the run that the directory holds aside. At the end,
    the old run is deleted if the new run has begun; otherwise it is put back. Raises `UserError` if the manifest of the
    old run is damaged."""
    settle(directory)
    if fresh:
        set_aside(directory)
    try:
        yield
    finally:
        settle(directory)


def set_aside(directory: Path) -> None:
    """Moves what a run wrote into the folder `replaced`. The manifest goes last: without it, `settle` puts all back."""
    if read_manifest(directory) is None:
        return
    aside = directory / REPLACED
    aside.mkdir()
    for name in (*RUN_DIRECTORIES, *RUN_FILES, RUN_MANIFEST):
        if (directory / name).exists():
            os.replace(directory / name, aside / name)


def settle(directory: Path) -> None:
    """Decides about a run that was set aside, perhaps by a start that was killed: deletes it if the new run has begun,
    otherwise puts it back. The manifest comes back first: while it is aside, everything else is."""
    drop_replaced(directory)
    aside = directory / REPLACED
    if not aside.exists():
        return
    if (aside / RUN_MANIFEST).exists():
        clear(directory)  # what the new run wrote before it was refused
    for name in (RUN_MANIFEST, *RUN_DIRECTORIES, *RUN_FILES):
        if (aside / name).exists():
            os.replace(aside / name, directory / name)
    remove(aside)


def drop_replaced(directory: Path) -> None:
    """Deletes a run that was set aside if the new run has begun. The folder is renamed first: half a deleted run must not
    be put back."""
    aside, doomed = directory / REPLACED, directory / f"{REPLACED}.tmp"
    if (aside / RUN_MANIFEST).exists() and has_begun(directory):
        os.replace(aside, doomed)
    remove(doomed)
