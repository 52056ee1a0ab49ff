"""Removes what a study put into the directories of runs that were refused before they began."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from preflab.errors import UserError
from preflab.study.directory import STARTED_FILES
from preflab.train.directory import RUN_MANIFEST
from preflab.train.files import remove
from preflab.train.lock import remove_empty


@contextmanager
def removing_refused(made: Sequence[Path]) -> Generator[None]:
    """If the block raises `UserError`, removes what a study put into the directories `made` of runs that have not begun,
    and these directories if they are then empty. `made`: directories that the study itself has made."""
    try:
        yield
    except UserError:
        for directory in made:
            if not (directory / RUN_MANIFEST).exists():
                for name in STARTED_FILES:
                    remove(directory / name)
                remove_empty((directory, *directory.parents))
        raise
