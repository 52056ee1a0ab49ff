"""Reads JSON lines, gzipped or not, one at a time; every message names file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from preflab.errors import UserError

_GZIP = b"\x1f\x8b"  # the file's first bytes decide, not its name
PlacedRecord = tuple[str, dict[str, Any]]
"""A record behind its `file:line`."""
ReadLine = tuple[str, dict[str, Any] | UserError]
"""The same, or why there is none."""
READ_ERRORS = (OSError, EOFError, zlib.error)


def read_records(path: Path) -> Iterator[PlacedRecord]:
    """Each record with its `file:line`. Blank lines are skipped; a file without records is refused."""
    yield from require_records(_read_lines(path))


def require_records(lines: Iterable[ReadLine]) -> Iterator[PlacedRecord]:
    """Records; raises the error of the first line that is none."""
    for where, record in lines:
        if isinstance(record, UserError):
            raise record
        yield where, record


def _read_lines(path: Path) -> Iterator[ReadLine]:
    """Each line of a file as a record, or as the error that names what is wrong with it."""
    try:
        with open_plain(path) as lines:
            yield from parse_lines(lines, path)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


@contextmanager
def open_plain(path: Path) -> Generator[BufferedReader]:
    """The bytes of a file, unpacked where it is gzipped."""
    with path.open("rb") as raw:
        if raw.peek(2)[:2] != _GZIP:
            yield raw
            return
        with gzip.open(raw) as unpacked:
            yield cast(BufferedReader, unpacked)  # it reads and peeks like one


def parse_lines(lines: BufferedReader, path: Path) -> Iterator[ReadLine]:
    """The lines of an open file. One that breaks off in the middle ends with the error that says where."""
    number = 0
    empty = True
    try:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                empty = False
                yield f"{path}:{number}", _parse_line(line, f"{path}:{number}", first=number == 1)
    except READ_ERRORS as error:
        yield (
            f"{path}:{number}",
            UserError(f"{path} cannot be read after line {number}: {error}. Fetch the file again."),
        )
        return
    if empty:
        raise UserError(f"{path} is empty: it needs one JSON object a line.")


def _parse_line(line: bytes, where: str, *, first: bool) -> dict[str, Any] | UserError:
    try:
        record = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        return UserError(f"{where} is not UTF-8: {error.reason} at byte {error.start} of the line.")
    except json.JSONDecodeError as error:
        return UserError(f"{where} is not JSON: {error.msg} at column {error.colno}. Mend or remove the line.")
    except (ValueError, RecursionError) as error:  # more digits, or lists nested more deeply, than Python reads
        return UserError(f"{where} cannot be read: {error}. Mend or remove the line.")
    return check_record(record, where)


def check_record(record: Any, where: str) -> dict[str, Any] | UserError:
    """A JSON value that must be an object."""
    if isinstance(record, dict):
        return cast(dict[str, Any], record)
    return UserError(f"{where} is a JSON {type(record).__name__}; each line must be an object {{...}}.")


def read_text_field(record: Mapping[str, Any], name: str, where: str) -> str:
    """A field that must be text; raises `UserError` naming file, line and field."""
    if name not in record:
        raise UserError(f"{where}: the field `{name}` is missing (present: {', '.join(record) or 'none'}).")
    return check_text(record[name], f"{where}: `{name}`")


def check_text(value: Any, where: str) -> str:
    """Returns a value that must be text that can be encoded. JSON allows half a surrogate pair, which no tokenizer takes."""
    if not isinstance(value, str):
        raise UserError(f"{where} must be text, not {json.dumps(value, default=str)[:60]}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds half a surrogate pair (\\ud8xx): it was cut inside a character.") from error
    return value
