"""Reads files that are not JSON lines: a JSON list or object, CSV, Parquet. Lists and tables are read piece by piece."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from preflab.data.lines import READ_ERRORS, ReadLine, check_record, parse_lines
from preflab.data.written import is_message, parse_literal
from preflab.errors import UserError
from preflab.models.hub import first_line

_CHUNK = 1 << 20
_LONGEST_RECORD = 64 << 20
"""The most characters of a record in a JSON list. A longer record is treated as damaged."""
_LONGEST_CELL = 1 << 27
_BATCH = 512
_BETWEEN = re.compile(r"[\s,]*")
_LIST_NAMES = (
    "completions responses generations answers candidates outputs scores ratings rewards ranks turns "
    "tests public_tests test_cases test_list test_imports history"
)
_LIST_COLUMNS = frozenset(_LIST_NAMES.split())
"""CSV columns whose cells may hold lists. In any other column, a list is text unless it holds mappings."""
_TEXT_NAMES = (
    "prompt question query instruction problem input inputs chosen rejected chosen_response rejected_response "
    "preferred_output non_preferred_output completion response output answer target targets solution response_0 "
    "response_1 response_2 response_a response_b response1 response2 output_1 output_2 answer_0 answer_1 human_ref_A "
    "human_ref_B"
)
_TEXT_COLUMNS = frozenset(_TEXT_NAMES.split())
"""CSV columns whose cells are text, or messages. A cell that holds other JSON is a question or answer in JSON."""
_STRUCTURES = ("messages", "message_id")
"""Keys by which a dialogue (OpenAI, OpenAssistant) differs from a text that happens to be JSON."""


def read_json_file(file: BufferedReader, path: Path) -> Iterator[ReadLine]:
    """Reads a JSON file. It may be a list of records, a single record, an object that holds one list of records, or JSON
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
        yield from _read_object(file.read(), path)


def _parse(text: bytes) -> Any:
    """Returns the value of a JSON text; None if the text is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _read_list(text: io.TextIOWrapper, path: Path) -> Iterator[ReadLine]:
    """Yields the items of a JSON list without loading the whole list. Stops at a damaged item, because the beginning of
    the next item cannot be found."""
    decode = json.JSONDecoder().raw_decode
    number, place = 0, 1
    try:
        buffer = text.read(_CHUNK).lstrip()
        while True:
            place = _BETWEEN.match(buffer, place).end()  # pyright: ignore[reportOptionalMemberAccess] # always matches
            if buffer[place : place + 1] == "]":
                if _holds_more(buffer[place + 1 :], text):
                    where = _place(path, number + 1)
                    yield (
                        where,
                        UserError(
                            f"{where}: text follows the end of the JSON list, and it is not read. Repair the file."
                        ),
                    )
                break
            try:
                record, place = decode(buffer, place)
            except json.JSONDecodeError as error:
                more = text.read(max(_CHUNK, len(buffer) - place)) if len(buffer) - place < _LONGEST_RECORD else ""
                if not more:
                    yield (
                        _place(path, number + 1),
                        UserError(
                            f"{_place(path, number + 1)} is not JSON: {error.msg}. The rest cannot be read. Repair the file."
                        ),
                    )
                    return
                buffer, place = buffer[place:] + more, 0
                continue
            number += 1
            yield _place(path, number), check_record(record, _place(path, number))
    except (*READ_ERRORS, ValueError, RecursionError) as error:
        yield _place(path, number + 1), UserError(f"{path} cannot be read after record {number}: {error}.")
        return
    if not number:
        raise UserError(f"{path} is empty: it holds no record.")


def _holds_more(text: str, rest: io.TextIOWrapper) -> bool:
    """Checks whether the text, or the rest of the file after it, contains anything but white space."""
    while not text.strip():
        text = rest.read(_CHUNK)
        if not text:
            return False
    return True


def _place(path: Path, number: int) -> str:
    return f"{path}:{number}"


def _read_object(text: bytes, path: Path) -> Iterator[ReadLine]:
    try:
        value: Any = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    record = check_record(value, str(path))
    lists = [item for item in value.values() if isinstance(item, list)] if isinstance(record, dict) else []
    if isinstance(record, dict) and len(lists) == 1 and all(isinstance(item, dict) for item in lists[0]):
        messages = all("role" in item or "from" in item for item in lists[0])
        if not messages:
            for number, item in enumerate(cast(list[Any], lists[0]), start=1):
                yield _place(path, number), item
            return
    yield _place(path, 1), record


def read_csv(file: BufferedReader, path: Path, delimiter: str) -> Iterator[ReadLine]:
    """Reads the rows of a table whose first line names the columns. An empty cell counts as an absent field. A column without
    a name (the index that pandas writes, or what follows a last comma) gets the name that pandas gives it."""
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), delimiter=delimiter)
    empty = True
    try:
        stated = next(rows, [])
        names = [name or f"Unnamed: {number}" for number, name in enumerate(stated)]
        if len(set(names)) < len(names) or not any(stated):
            raise UserError(f"{path}:1: the first line must give every column a different name.")
        for cells in rows:
            where = f"{path}:{rows.line_num}"
            if not cells:
                continue
            empty = False
            if len(cells) != len(names):
                yield (
                    where,
                    UserError(f"{where} has {len(cells)} cells, but the first line names {len(names)} columns."),
                )
            else:
                yield where, {name: _read_cell(name, cell) for name, cell in zip(names, cells, strict=True)}
    except (*READ_ERRORS, csv.Error, UnicodeDecodeError) as error:
        where = f"{path}:{rows.line_num + 1}"
        yield where, UserError(f"{where} cannot be read: {error}.")
        return
    if empty:
        raise UserError(f"{path} is empty: it needs a line of column names, and one line for each record.")


def _read_cell(name: str, cell: str) -> Any:
    """Returns the value of a cell: its text, or the messages or list that the cell holds as JSON or as a Python
    literal. Returns None if the cell is empty."""
    if cell[:1] not in ("[", "{"):
        return cell or None
    value = parse_literal(cell)
    parts = cast(list[Any], value) if isinstance(value, list) else [value]
    if isinstance(value, list) and name in _LIST_COLUMNS:
        return value or cell
    structured = all(_is_structure(part, name) for part in parts)
    return value if parts and structured else cell


def _is_structure(value: Any, column: str) -> bool:
    """Checks whether the value of a cell is meant as a mapping, and not as a text that happens to be JSON."""
    if not isinstance(value, dict):
        return False
    return column not in _TEXT_COLUMNS or is_message(value) or any(name in value for name in _STRUCTURES)


def read_parquet(file: BufferedReader, path: Path) -> Iterator[ReadLine]:
    """Reads the rows of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with tempfile.TemporaryFile() as plain:
            # A Parquet reader must seek to the end of the file.
            if not file.seekable() or isinstance(file, gzip.GzipFile):
                shutil.copyfileobj(file, plain)
            source: Any = plain if plain.tell() else file
            for batch in pyarrow.parquet.ParquetFile(source).iter_batches(_BATCH):
                for record in batch.to_pylist():
                    number += 1
                    yield _place(path, number), record
    except (*READ_ERRORS, pyarrow.ArrowException, ValueError) as error:
        yield _place(path, number + 1), UserError(f"{path} cannot be read after row {number}: {first_line(error)}.")
        return
    if not number:
        raise UserError(f"{path} is empty: it holds no row.")
