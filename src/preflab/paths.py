"""Turns the user's text into a path, finds the cache folder, and syncs files to the disk. preflab can recreate every
file in the cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from preflab.errors import UserError
from preflab.text import brief


def user_path(text: str) -> Path:
    """Returns the path that `text` names. A `~` at the beginning of `text` stands for the user's home directory. The
    path need not exist. Raises `UserError` if the system cannot look up the path, because the name is too long or
    contains a NUL character, or because a directory above the path cannot be entered."""
    # `os.path.expanduser` leaves `~name` unchanged if there is no such user. `Path.expanduser` would raise an error.
    path = Path(os.path.expanduser(text))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise UserError(f"The path {brief(text)} cannot be used: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"The path {brief(text)} cannot be used: {error}.") from error
    return path


def cache_directory() -> Path:
    """Returns the directory that the environment variable `PREFLAB_CACHE` names. If this variable is not set, returns
    the folder `preflab` in `XDG_CACHE_HOME` or ~/.cache."""
    if own := os.environ.get("PREFLAB_CACHE"):
        return user_path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "preflab"


def sync(path: Path) -> None:
    """Syncs a file or a directory to the disk. After a directory is synced, new files and renames in this directory
    survive a crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
