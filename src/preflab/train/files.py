"""Writes files so that a crash at any moment leaves either the old file or the new file, never a half-written file.

A directory is replaced by two renames. A crash between the two renames leaves neither the old nor the new directory in
place, but never a half-written directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from preflab.endings import DISK_FAULTS
from preflab.errors import UserError
from preflab.paths import sync
from preflab.plain import parse_json


def write_json(path: Path, data: Any) -> None:
    """Replaces a JSON file in one step: writes a temporary file, syncs it to the disk and renames it."""
    aside = path.with_name(path.name + ".tmp")
    refuse_special(aside)
    aside.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def read_json(path: Path) -> Any:
    """Returns the data of a JSON file. Raises `UserError` if the file is missing or damaged."""
    refuse_special(path)
    try:
        return parse_json(path.read_bytes(), f"{path} is damaged")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} is damaged: {error}") from error


def refuse_special(path: Path) -> None:
    """Raises `UserError` if the path is a pipe, a socket or a device, because opening such a path can block forever.
    Accepts a directory, because opening a directory fails immediately."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path} is not a regular file but a pipe, a socket or a device. Remove it.")


@contextmanager
def new_directory(path: Path) -> Generator[Path]:
    """Yields a new temporary directory. When the block ends, this directory replaces the directory `path`."""
    aside = path.with_name(path.name + ".tmp")
    remove(aside)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException as error:
        remove(aside)  # a half-written directory must not fill the disk
        fault = next((number for number in DISK_FAULTS if f"(os error {number})" in str(error)), None)
        # For a full or failed disk, safetensors does not raise an `OSError`, so the error is replaced by an `OSError`.
        if fault is not None:
            raise OSError(fault, os.strerror(fault), str(path)) from error
        raise
    for written in (*aside.iterdir(), aside):
        sync(written)
    replaced = path.with_name(path.name + ".old.tmp")
    remove(replaced)
    if path.exists():
        os.replace(path, replaced)
    os.replace(aside, path)
    sync(path.parent)
    remove(replaced)


def remove(path: Path) -> None:
    """Removes the file `path`, or the directory `path` with all its contents. Does nothing if the path does not
    exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a directory, for example in the directory of a model, by file name."""
    return {file.name: sha256(file) for file in sorted(directory.iterdir()) if file.is_file()}


@contextmanager
def naming_failures(directory: Path) -> Generator[None]:
    """Turns an `OSError` about a path in this directory into a `UserError`. If the disk is full or has failed, the
    error stays an `OSError`, because the user did not make a mistake. If such an `OSError` names no file, the name of
    the directory is added."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FAULTS and error.filename is None:
            raise OSError(error.errno, error.strerror, str(directory)) from error
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if error.errno in DISK_FAULTS or place is None or not place.absolute().is_relative_to(directory.absolute()):
            raise
        raise UserError(
            f"{place} cannot be used: {error.strerror}. Correct this, or choose another place for the output."
        ) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the records of a JSON-lines file, without a half-written last line. Returns [] if there is no file.

    Raises `UserError` with the line number if any other line is not a JSON object.
    """
    if not path.exists():
        return []
    refuse_special(path)
    records: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    break
                raise UserError(f"{path}, line {number}, is damaged: {error}") from error
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number}, is damaged: it is not a JSON object.")
            records.append(record)
    return records


class FileStart(TypedDict):
    """A mark in a file. `bytes`: the number of bytes before the mark. `sha256`: the checksum of these bytes."""

    bytes: int
    sha256: str


class Lines:
    """A JSON-lines file to which a run appends records. At each checkpoint the run takes a mark of the file's end. When
    the run resumes, the file is cut back to the mark."""

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        self.path = path
        self.file = path.open("ab")
        self.digest = hashlib.sha256()  # the hash of the whole file; correct only after `cut`

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
        self.file.write(line)
        self.file.flush()
        self.digest.update(line)

    def mark(self) -> FileStart:
        """Syncs the file to the disk and returns a mark of its current end."""
        os.fsync(self.file.fileno())
        return {"bytes": self.file.tell(), "sha256": self.digest.hexdigest()}

    def holds(self, mark: Mapping[str, object]) -> bool:
        """Returns True if the bytes before the mark have not changed since the mark was made."""
        size: Any = mark["bytes"]
        if not isinstance(size, int) or not 0 <= size <= self.path.stat().st_size:
            return False
        return self._digest_start(size).hexdigest() == mark["sha256"]

    def cut(self, size: int) -> None:
        """Removes everything after the first `size` bytes of the file."""
        self.file.truncate(size)
        self.file.seek(size)
        self.digest = self._digest_start(size)

    def cut_half_line(self) -> None:
        """Removes the last line if a crash left it half-written."""
        self.cut(self.path.read_bytes().rfind(b"\n") + 1)

    def close(self) -> None:
        self.file.close()

    def _digest_start(self, size: int):
        """Returns a hash object that has read the first `size` bytes of the file, or the whole file if the file is
        shorter."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while size > 0 and (block := file.read(min(size, 1 << 20))):
                digest.update(block)
                size -= len(block)
        return digest
