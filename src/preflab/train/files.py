"""Writing such that a crash at any moment leaves either the old file or the new one, never half of one.

Between the two renames that replace a directory, neither the old nor the new one is in its place; a part of one never is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.plain import parse_json


def write_json(path: Path, data: Any) -> None:
    """Replaces a JSON file in one step: writes it aside, syncs it to the disk, renames it."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def read_json(path: Path) -> Any:
    """Raises `UserError` where the file is missing or damaged."""
    try:
        return parse_json(path.read_bytes(), f"{path} is damaged")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} is damaged: {error}") from error


@contextmanager
def new_directory(path: Path) -> Generator[Path]:
    """A directory to fill. When the block ends, it takes the place of `path` in one step."""
    aside = path.with_name(path.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)  # a part must not fill the disk
        if f"os error {errno.ENOSPC}" in str(error):  # safetensors has an exception of its own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    for written in (*aside.iterdir(), aside):
        sync(written)
    replaced = path.with_name(path.name + ".old.tmp")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.replace(path, replaced)
    os.replace(aside, path)
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sync(path: Path) -> None:
    """Syncs a file to the disk, or a directory, so that a rename in it lasts."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; none where there is no file. A last line that is half written is left out.

    Raises `UserError` naming a line that is not a record.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                records.append(json.loads(line))
            except ValueError as error:
                if not line.endswith(b"\n"):
                    break
                raise UserError(f"{path}, line {number}, is damaged: {error}") from error
    return records


class Lines:
    """A JSON-lines file that is appended to, and cut back to a remembered size when a run resumes.

    A last line that a crash left half written goes when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        self.file = path.open("ab")
        self.cut(whole)

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

    def close(self) -> None:
        self.file.close()
