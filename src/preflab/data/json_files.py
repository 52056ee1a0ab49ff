"""Reads JSON files that contain a list of records, an object, or JSON lines. A list is read piece by piece, because it
may be larger than the memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from preflab.data.json_objects import read_object
from preflab.data.lines import READ_ERRORS, ReadLine, check_record, describe_read_error, parse_lines
from preflab.errors import UserError
from preflab.plain import refuse_repeated_keys

_CHUNK = 1 << 20
_LONGEST_RECORD = 64 << 20
"""The largest number of characters of one record in a JSON list. A longer record counts as damaged."""
_BETWEEN = re.compile(r"[\s,]*")


def read_json_file(file: BufferedReader, path: Path, split: str) -> Iterator[ReadLine]:
    """Yields the records of a JSON file. The file contains a list of records, an object (see `json_objects`), or JSON
    lines."""
    first = file.readline(_CHUNK)
    while first and not first.removeprefix(b"\xef\xbb\xbf").strip():
        first = file.readline(_CHUNK)
    several = file.peek(1) != b"" and isinstance(_parse(first), dict)
    file.seek(0)
    if first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        yield from _read_list(io.TextIOWrapper(file, encoding="utf-8-sig"), path)
    elif several:
        yield from parse_lines(file, path)
    else:
        yield from read_object(file.read(), path, split)


def _parse(text: bytes) -> Any:
    """Returns the value of a JSON text. Returns None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_list(text: io.TextIOWrapper, path: Path) -> Iterator[ReadLine]:
    """Yields the items of a JSON list without loading the whole list. Stops at the first damaged item, because the
    start of the following item cannot be found."""
    decode = json.JSONDecoder(object_pairs_hook=refuse_repeated_keys).raw_decode
    number, place = 0, 1
    try:
        buffer = text.read(_CHUNK).lstrip()
        while True:
            place = _BETWEEN.match(buffer, place).end()  # pyright: ignore[reportOptionalMemberAccess] # the pattern also matches an empty text
            if buffer[place : place + 1] == "]":
                if _holds_more(buffer[place + 1 :], text):
                    where = f"{path}:{number + 1}"
                    yield (
                        where,
                        UserError(
                            f"{where}: text follows the end of the JSON list. This text is not read. Repair the file."
                        ),
                    )
                break
            try:
                record, place = decode(buffer, place)
            except json.JSONDecodeError as error:
                more = text.read(max(_CHUNK, len(buffer) - place)) if len(buffer) - place < _LONGEST_RECORD else ""
                if not more:
                    yield (
                        f"{path}:{number + 1}",
                        UserError(
                            f"{path}:{number + 1} is not JSON: {error.msg}. The rest cannot be read. Repair the file."
                        ),
                    )
                    return
                buffer, place = buffer[place:] + more, 0
                continue
            number += 1
            yield f"{path}:{number}", check_record(record, f"{path}:{number}")
    except UserError as error:
        yield f"{path}:{number + 1}", UserError(f"{path}:{number + 1}: {error} The rest of the file is not read.")
        return
    except (*READ_ERRORS, ValueError, RecursionError) as error:
        yield (
            f"{path}:{number + 1}",
            UserError(f"{path} cannot be read after record {number}: {describe_read_error(error)}."),
        )
        return
    if not number:
        raise UserError(f"{path} is empty: the file contains no record.")


def _holds_more(text: str, rest: io.TextIOWrapper) -> bool:
    """Checks whether `text`, or the part of the file that has not been read yet, contains other characters than white
    space."""
    while not text.strip():
        text = rest.read(_CHUNK)
        if not text:
            return False
    return True
