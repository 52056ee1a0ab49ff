"""Removes the files that a study put into the directories of runs that were refused before they began."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from preflab.errors import UserError
from preflab.study.directory import STARTED_FILES
from preflab.study.launchers.attempts import attempts_of, discard_attempts, latest_work
from preflab.train.files import remove
from preflab.train.lock import remove_empty


@contextmanager
def removing_refused(made: Sequence[Path]) -> Generator[None]:
    """Returns a context that cleans up if its block raises `UserError`. The context removes the files that the study
    put into the directories of runs that have not begun. It then removes the directories that are empty. `made`: the
    run directories that the study created."""
    try:
        yield
    except UserError:
        for directory in made:
            if latest_work(directory, attempts_of(directory)) is None:
                discard_attempts(directory)
                for name in STARTED_FILES:
                    remove(directory / name)
                remove_empty((directory, *directory.parents))
        raise
