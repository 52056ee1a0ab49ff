"""Finds the records in a JSON object. The object is either a single record, or a container of records. A container has
one of four forms: a list of records, a list of records for each split, a mapping from row numbers to records, or a list
of values for each column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from preflab.data.folders import names_split
from preflab.data.lines import READ_ERRORS, ReadLine, check_record, describe_read_error, open_plain
from preflab.data.prompts import QUESTION_FIELDS
from preflab.data.written import holds_messages, is_message
from preflab.errors import UserError
from preflab.plain import refuse_repeated_keys

_NAME, _SCALAR = rb'\s*"([^"\\]*)"\s*:\s*', rb'(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+)\s*,)*'
_FIRST_LIST = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{" + _SCALAR + _NAME + rb"\[")
"""Matches the beginning of a JSON object up to the start of its first list. Before this list, only values that are
plain texts or numbers may occur."""


def read_object(text: bytes, path: Path, split: str) -> Iterator[ReadLine]:
    """Yields the records of a JSON object. `split`: the split to read from an object with several splits; empty for any
    other object. Raises `UserError` if the text is not JSON, or if the object contains no record."""
    value = _parse(text, path)
    checked = check_record(value, str(path))
    rows = None if isinstance(checked, UserError) else _list_rows(checked, split)
    if rows is None:
        yield f"{path}:1", checked
        return
    if not rows:
        raise UserError(f"{path} is empty: the file contains no record.")
    for number, row in enumerate(rows, start=1):
        yield f"{path}:{number}", check_record(row, f"{path}:{number}")


def list_object_splits(path: Path) -> list[str]:
    """Returns the splits of a JSON file that is an object with one list of records for each split. Before the first
    list, the object may contain only plain texts and numbers, such as a version. The result is empty for any other
    file."""
    try:
        with open_plain(path) as file:
            first = _FIRST_LIST.match(file.peek(4096))
            if first is None or not names_split(first[1].decode(errors="replace")):
                return []
            value = _parse(file.read(), path)
    except (*READ_ERRORS, UserError):
        return []
    return sorted(_find_splits(cast(Mapping[str, Any], value))) if isinstance(value, dict) else []


def _parse(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=refuse_repeated_keys)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {describe_read_error(error)}.") from error


def _list_rows(value: Mapping[str, Any], split: str) -> list[Any] | None:
    """Returns the records inside of an object. Returns None if the object itself is a record."""
    if split:
        return _find_splits(value)[split]
    lists = [item for item in value.values() if isinstance(item, list)]
    if len(lists) == 1 and _holds_records(lists[0]):
        return lists[0]
    if value and all(name.isdecimal() for name in value) and _holds_records([*value.values()]):
        return [*value.values()]
    columns = {name: _list_cells(cells) for name, cells in value.items()}
    return _join_columns(cast(dict[str, list[Any]], columns)) if _are_columns(columns) else None


def _find_splits(value: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns a mapping from each split to its records. The mapping is empty if the object does not contain several
    lists, or if one of its lists is not named after a split."""
    lists = {name: cast(list[Any], item) for name, item in value.items() if isinstance(item, list)}
    fits = len(lists) > 1 and all(
        names_split(name) and (not item or _holds_records(item)) for name, item in lists.items()
    )
    return lists if fits else {}


def _holds_records(items: Sequence[Any]) -> bool:
    """Checks whether the items are records. The check passes if all items are mappings, and if at least one item is not
    a message. The check fails for an empty list."""
    return bool(items) and all(isinstance(item, dict) for item in items) and not all(map(is_message, items))


def _list_cells(cells: Any) -> list[Any] | None:
    """Returns the cells of a column as a list. The column is a list, or a mapping from row numbers to cells, as pandas
    writes it. Returns None for any other value."""
    if isinstance(cells, list):
        return cast(list[Any], cells)
    numbered = cast(Mapping[str, Any], cells) if isinstance(cells, dict) else {}
    return [*numbered.values()] if numbered and all(name.isdecimal() for name in numbered) else None


def _are_columns(columns: Mapping[str, list[Any] | None]) -> bool:
    """Checks whether the values of an object are columns of equal length. A list of messages is not a column. If there
    is only one column, it must contain questions or dialogues."""
    cells = [column for column in columns.values() if column is not None]
    if not cells or len(cells) < len(columns) or len({*map(len, cells)}) > 1 or any(map(holds_messages, cells)):
        return False
    return len(cells) > 1 or next(iter(columns)) in QUESTION_FIELDS or all(map(holds_messages, cells[0]))


def _join_columns(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
