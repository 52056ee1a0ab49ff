"""Writing so that a crash at any moment leaves either the old or the new, never half of one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError


def write_json(path: Path, data: Any) -> None:
    """Replaces a JSON file in one step: written aside, fsynced, renamed."""
    aside = path.with_name(path.name + ".tmp")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_directory(path.parent)


def read_json(path: Path) -> Any:
    """Raises `UserError` where the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to fill that takes the place of `path` when the block ends, all at once."""
    aside = path.with_name(path.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    for file in aside.iterdir():
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    sync_directory(aside)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(aside, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes a rename in `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


class Lines:
    """A JSON-lines file that is appended to, and cut back to a remembered size when a run resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab")

    def write(self, record: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n")
        self.file.flush()

    def size(self) -> int:
        """Bytes on the disk, made durable."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def cut(self, size: int) -> None:
        self.file.truncate(size)
        self.file.seek(size)
