"""Takes the lock of a directory. Another process may remove the lock's file while this process waits for the lock.

Does not import torch.
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
    """The lock of a directory while this process has it. `is_new`: whether this process made the lock's file."""

    file: TextIO
    is_new: bool


def take_lock(directory: Path, patience: float) -> Lock:
    """Makes the directory and locks it. See `directory.locked`. Another process whose run is refused removes the lock's
    file. If this process was waiting for that file, this process opens a new file."""
    path, deadline = directory / LOCK, time.monotonic() + patience
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            refuse_special(path)
            is_new = not path.exists()
            file = path.open("a")  # the file may be the user's
        except FileNotFoundError as error:  # a process that was refused has removed the directory
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
    """Removes directories, the innermost first, up to the first that is not empty."""
    for place in places:
        try:
            place.rmdir()
        except OSError:
            return
