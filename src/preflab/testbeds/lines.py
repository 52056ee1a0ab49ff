"""Reads JSON lines, gzipped or not, one at a time; every message names file and line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflab.errors import UserError

_GZIP = b"\x1f\x8b"  # the file's first bytes decide, not its name


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record with its `file:line`. Blank lines are skipped; a file without records is refused."""
    number = 0
    empty = True
    try:
        with path.open("rb") as raw, gzip.open(raw) if raw.peek(2)[:2] == _GZIP else raw as lines:
            for number, line in enumerate(lines, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text.strip():
                    empty = False
                    yield f"{path}:{number}", _parse_record_line(text, f"{path}:{number}")
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number} is not UTF-8: {error.reason} at byte {error.start} of the line.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read after line {number}: {error}. Fetch the file again.") from error
    if empty:
        raise UserError(f"{path} is empty: it needs one JSON object a line.")


def _parse_record_line(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} is not JSON: {error.msg} at column {error.colno}. Mend or remove the line."
        ) from error
    except (ValueError, RecursionError) as error:  # more digits, or lists nested more deeply, than Python reads
        raise UserError(f"{where} cannot be read: {error}. Mend or remove the line.") from error
    if not isinstance(record, dict):
        raise UserError(f"{where} is a JSON {type(record).__name__}; each line must be an object {{...}}.")
    return record


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
