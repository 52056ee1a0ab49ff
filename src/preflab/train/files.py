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
from typing import Any, TypedDict

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
    remove(aside)
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException as error:
        remove(aside)  # a part must not fill the disk
        if f"os error {errno.ENOSPC}" in str(error):  # safetensors has an exception of its own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
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
    """Removes a directory with all that it holds, or the file that lies in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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


@contextmanager
def naming_failures(directory: Path) -> Generator[None]:
    """Turns what the file system refuses in a directory into a `UserError`. A full disk is no mistake of the user's: its
    error passes."""
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
        if error.errno == errno.ENOSPC or place is None or not place.absolute().is_relative_to(directory.absolute()):
            raise
        raise UserError(
            f"{place} cannot be used: {error.strerror}. Put that right, or choose another --output."
        ) from error


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
    """How a file begins: so many bytes, with this checksum."""

    bytes: int
    sha256: str


class Lines:
    """A JSON-lines file that is appended to. Its beginning is remembered by a mark, to which it is cut back when a run
    resumes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab")
        self.digest = hashlib.sha256()  # of what `cut` kept and of all that was written since

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
        self.file.write(line)
        self.file.flush()
        self.digest.update(line)

    def mark(self) -> FileStart:
        """How the file on the disk begins: all that it holds, made durable."""
        os.fsync(self.file.fileno())
        return {"bytes": self.file.tell(), "sha256": self.digest.hexdigest()}

    def holds(self, mark: FileStart) -> bool:
        """Whether the file still begins as it did when the mark was made."""
        return self._digest_start(mark["bytes"]).hexdigest() == mark["sha256"]

    def cut(self, size: int) -> None:
        """Keeps the first `size` bytes alone."""
        self.file.truncate(size)
        self.file.seek(size)
        self.digest = self._digest_start(size)

    def cut_half_line(self) -> None:
        """Takes away a last line that a crash left half written."""
        self.cut(self.path.read_bytes().rfind(b"\n") + 1)

    def close(self) -> None:
        self.file.close()

    def _digest_start(self, size: int):
        """The checksum, still open, of the first bytes (of all, where there are not as many)."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while size > 0 and (block := file.read(min(size, 1 << 20))):
                digest.update(block)
                size -= len(block)
        return digest
