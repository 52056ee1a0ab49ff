"""Takes the lock of a directory. Another process can remove the lock file while this process waits.

This module does not import torch.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from preflab.errors import UserError
from preflab.train.files import refuse_special

LOCK = "lock"


class Lock(NamedTuple):
    """The lock of a directory, which this process has taken. `file`: the open and locked file. `is_new`: whether this
    process created this file."""

    file: TextIO
    is_new: bool


def take_lock(directory: Path, patience: float) -> Lock:
    """Creates the directory and takes its lock (see `directory.locked`). If the run of another process is refused, that
    process removes the lock file. If this process was waiting for the removed file, it creates a new lock file."""
    path, deadline = directory / LOCK, time.monotonic() + patience
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            refuse_special(path)
            is_new = not path.exists()
            file = path.open("a")  # if the user has a file of this name, append mode keeps its content
        except FileNotFoundError as error:  # another process, whose run was refused, has removed the directory
            if time.monotonic() > deadline:
                raise UserError(f"{directory} cannot be written: {error.strerror}. Choose another --output.") from error
            time.sleep(0.1)
            continue
        except OSError as error:
            raise UserError(f"{directory} cannot be written: {error.strerror}. Choose another --output.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return Lock(file, is_new)
            file.close()
        except OSError as error:
            file.close()
            if time.monotonic() > deadline:
                raise UserError(f"Another process writes in {directory}. Wait until it ends, or stop it.") from error
            time.sleep(0.1)


def remove_empty(places: Iterable[Path]) -> None:
    """Removes the empty directories in `places`, in this order, and stops at the first directory that is not empty. The
    innermost directory must come first."""
    for place in places:
        try:
            place.rmdir()
        except OSError:
            return
