"""Turns a text that the user wrote into a path, finds the cache folder, whose files preflab can make again, and syncs a
path to the disk."""

from __future__ import annotations

import os
from pathlib import Path

from preflab.errors import UserError
from preflab.text import brief


def user_path(text: str) -> Path:
    """Returns the path that `text` names; `~` at its beginning is the user's home directory. The path need not exist.
    Raises `UserError` if the system cannot look it up: the name is too long or contains a NUL character, or a directory
    above it cannot be entered."""
    path = Path(
        os.path.expanduser(text)
    )  # unlike `Path.expanduser`, it leaves `~name` as it is if there is no such user
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
    """Returns the directory that the variable `PREFLAB_CACHE` names, or else the folder `preflab` in `XDG_CACHE_HOME`
    or ~/.cache."""
    if own := os.environ.get("PREFLAB_CACHE"):
        return user_path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "preflab"


def sync(path: Path) -> None:
    """Syncs a file or a directory to the disk. A sync of a directory makes new files and earlier renames in it survive a
    crash."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
