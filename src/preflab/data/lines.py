"""Reads files of JSON lines, gzipped or not, one line at a time. Every error names the file and the line."""

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
from preflab.plain import refuse_repeated_keys

_GZIP = b"\x1f\x8b"  # every gzipped file begins with these bytes
PlacedRecord = tuple[str, dict[str, Any]]
"""The place of a record, as `file:line`, and the record."""
ReadLine = tuple[str, dict[str, Any] | UserError]
"""A tuple of two values: the place of a record, and either the record or an error with the reason why the record cannot
be read."""
READ_ERRORS = (OSError, EOFError, zlib.error)


def read_records(path: Path) -> Iterator[PlacedRecord]:
    """Yields each record of a file with its place, `file:line`. Skips blank lines. Raises `UserError` if a line is not
    a record, or if the file contains no record."""
    yield from require_records(_read_lines(path))


def require_records(lines: Iterable[ReadLine]) -> Iterator[PlacedRecord]:
    """Yields the records, each with its place. Raises the error of the first line that is not a record."""
    for where, record in lines:
        if isinstance(record, UserError):
            raise record
        yield where, record


def _read_lines(path: Path) -> Iterator[ReadLine]:
    """Yields each line of a file as a record. For a line that is not a record, yields an error with the reason."""
    try:
        with open_plain(path) as lines:
            yield from parse_lines(lines, path)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


@contextmanager
def open_plain(path: Path) -> Generator[BufferedReader]:
    """Opens a file for reading bytes. The bytes of a gzipped file are unpacked."""
    with path.open("rb") as raw:
        if raw.peek(2)[:2] != _GZIP:
            yield raw
            return
        with gzip.open(raw) as unpacked:
            yield cast(BufferedReader, unpacked)  # a `GzipFile` has every `BufferedReader` method that preflab uses


def parse_lines(lines: BufferedReader, path: Path) -> Iterator[ReadLine]:
    """Yields the records of an open file. If the file cannot be read to its end, the last item is an error. This error
    names the last line that was read."""
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
        raise UserError(f"{path} is empty: the file must contain one JSON object on each line.")


def _parse_line(line: bytes, where: str, *, first: bool) -> dict[str, Any] | UserError:
    try:
        record = json.loads(line.decode("utf-8-sig" if first else "utf-8"), object_pairs_hook=refuse_repeated_keys)
    except UserError as error:
        return UserError(f"{where}: {error}")
    except UnicodeDecodeError as error:
        return UserError(f"{where} is not UTF-8: {error.reason} at byte {error.start} of the line.")
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and b"\r" in line.strip():
            return UserError(
                f"{where} contains several lines that end in a carriage return alone, as on old Macs. Save the file "
                "with the line ends of Unix (a line feed) or Windows (a carriage return and a line feed)."
            )
        return UserError(f"{where} is not JSON: {error.msg} at column {error.colno}. Repair or remove the line.")
    except (ValueError, RecursionError) as error:  # a number has too many digits, or lists are nested too deeply
        return UserError(f"{where} cannot be read: {error}. Repair or remove the line.")
    return check_record(record, where)


def describe_read_error(error: Exception) -> str:
    """Returns the reason why a file cannot be read further. For bytes that are not UTF-8, the reason is simpler than
    Python's message."""
    if isinstance(error, UnicodeDecodeError):
        return "its text is not UTF-8, in which the file must be saved"
    return str(error)


def check_record(record: Any, where: str) -> dict[str, Any] | UserError:
    """Returns `record` if `record` is a JSON object. For any other value, returns an error that names the type of the
    value."""
    if isinstance(record, dict):
        return cast(dict[str, Any], record)
    return UserError(f"{where} is a JSON {type(record).__name__}. Each record must be a JSON object {{...}}.")


def read_text_field(record: Mapping[str, Any], name: str, where: str) -> str:
    """Returns the text in a field of a record. Raises `UserError` if the field is missing or is not text. The error
    names the file, the line and the field."""
    if name not in record:
        raise UserError(f"{where}: the field `{name}` is missing (present: {', '.join(record) or 'none'}).")
    return check_text(record[name], f"{where}: `{name}`")


def check_text(value: Any, where: str) -> str:
    """Returns `value` if it is valid text. Raises `UserError` if `value` is not text, or if the text contains half a
    surrogate pair. JSON allows half a surrogate pair, but tokenizers reject it."""
    if not isinstance(value, str):
        raise UserError(f"{where} must be text, not {json.dumps(value, default=str)[:60]}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where} contains half a surrogate pair (\\ud8xx): the text was cut inside a character."
        ) from error
    return value
