"""Writes files so that a crash at any moment leaves either the old file or the new file, never a half-written file.

A directory is replaced by two renames. Between the two, neither the old nor the new directory is in place; a half-written
directory is never in place.
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
from preflab.plain import parse_json


def write_json(path: Path, data: Any) -> None:
    """Replaces a JSON file in one step: writes a temporary file, syncs it to the disk and renames it."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def read_json(path: Path) -> Any:
    """Returns the data of a JSON file. Raises `UserError` if the file is missing or damaged."""
    try:
        return parse_json(path.read_bytes(), f"{path} is damaged")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} is damaged: {error}") from error


@contextmanager
def new_directory(path: Path) -> Generator[Path]:
    """Yields a new directory to fill. When the block ends, the new directory as a whole takes the place of `path`."""
    aside = path.with_name(path.name + ".tmp")
    remove(aside)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException as error:
        remove(aside)  # a half-written directory must not fill the disk
        fault = next((number for number in DISK_FAULTS if f"(os error {number})" in str(error)), None)
        if fault is not None:  # safetensors raises its own exception
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
    """Removes what lies at `path`: a file, or a directory with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Syncs a file or a directory to the disk. After a directory is synced, the renames in it are durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming_failures(directory: Path) -> Generator[None]:
    """Turns an `OSError` of the file system about a path in this directory into a `UserError`. The error of a full or broken
    disk stays an `OSError`, since it is not a mistake of the user; if it names no file, it gets the name of the directory."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FAULTS and error.filename is None:
            raise OSError(error.errno, error.strerror, str(directory)) from error
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if error.errno in DISK_FAULTS or place is None or not place.absolute().is_relative_to(directory.absolute()):
            raise
        raise UserError(
            f"{place} cannot be used: {error.strerror}. Put that right, or choose another --output."
        ) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; an empty list if there is no file. A half-written last line is left out.

    Raises `UserError`, which names the line, if any other line is not a record.
    """
    if not path.exists():
        return []
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
                raise UserError(f"{path}, line {number}, is damaged: it is not a record.")
            records.append(record)
    return records


class FileStart(TypedDict):
    """The beginning of a file: the number of its bytes, and their checksum."""

    bytes: int
    sha256: str


class Lines:
    """A JSON-lines file to which records are appended. A mark remembers what the file held at a checkpoint; when a run
    resumes, the file is cut back to the mark."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab")
        self.digest = hashlib.sha256()  # of the bytes that `cut` kept and of all lines written since

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
        self.file.write(line)
        self.file.flush()
        self.digest.update(line)

    def mark(self) -> FileStart:
        """Syncs the file to the disk and returns a mark of all that the file holds now."""
        os.fsync(self.file.fileno())
        return {"bytes": self.file.tell(), "sha256": self.digest.hexdigest()}

    def holds(self, mark: FileStart) -> bool:
        """Whether the file still begins as it did when the mark was made."""
        return self._digest_start(mark["bytes"]).hexdigest() == mark["sha256"]

    def cut(self, size: int) -> None:
        """Keeps only the first `size` bytes."""
        self.file.truncate(size)
        self.file.seek(size)
        self.digest = self._digest_start(size)

    def cut_half_line(self) -> None:
        """Removes a last line that a crash left half-written."""
        self.cut(self.path.read_bytes().rfind(b"\n") + 1)

    def close(self) -> None:
        self.file.close()

    def _digest_start(self, size: int):
        """The hash object of the first `size` bytes, or of the whole file if it is shorter. More bytes can be added to
        it."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while size > 0 and (block := file.read(min(size, 1 << 20))):
                digest.update(block)
                size -= len(block)
        return digest
