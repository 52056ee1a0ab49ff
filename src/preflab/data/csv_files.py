"""Reads CSV files. A cell may contain a list or messages, written as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any, cast

from preflab.data.answer_names import ANSWER_NAMES
from preflab.data.lines import READ_ERRORS, ReadLine, describe_read_error
from preflab.data.written import is_message, parse_literal
from preflab.errors import UserError

_LONGEST_CELL = 1 << 27
_LIST_NAMES = (
    "completions responses generations answers candidates outputs scores ratings rewards ranks turns "
    "tests public_tests test_cases test_list test_imports history"
)
_LIST_COLUMNS = frozenset(_LIST_NAMES.split())
"""CSV columns whose cells may contain lists. In any other column, a list is read as text, except a list of mappings."""
_TEXT_NAMES = (
    "prompt question query instruction problem input inputs completion response output answer target targets solution "
    "response_0 response1 response2 answer_0 human_ref_A human_ref_B"
)
_TEXT_COLUMNS = ANSWER_NAMES | {*_TEXT_NAMES.split()}
"""CSV columns whose cells contain text or messages. JSON that is not a message or a list of messages is read as
text."""
_DELIMITERS = (",", ";", "\t", "|")
_EXCEL_DELIMITER = re.compile(r'"?sep=([,;\t|])"?')
"""Matches a first line such as `sep=;`, which tells Excel the delimiter."""
_STRUCTURES = ("messages", "message_id")
"""Keys of dialogues in the formats of OpenAI and OpenAssistant. A mapping with such a key is a dialogue. A mapping
without such a key may be a text that happens to be JSON."""


def read_csv(file: BufferedReader, path: Path, delimiter: str) -> Iterator[ReadLine]:
    """Yields the rows of a table whose first line contains the names of the columns. The value of an empty cell is
    None. A column without a name, such as the index that pandas writes, gets the name that pandas would give it.
    `delimiter`: the character between two cells. It is ignored if the first line shows another delimiter."""
    csv.field_size_limit(_LONGEST_CELL)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    empty = True
    above, begin = 0, 1
    try:
        first = text.readline()
        if stated_delimiter := _EXCEL_DELIMITER.fullmatch(first.strip("\r\n")):
            delimiter, first, above = stated_delimiter[1], text.readline(), 1
        else:
            delimiter = _find_delimiter(first, delimiter)
        spaced = 0 < first.count(delimiter) == first.count(f"{delimiter} ")
        rows = csv.reader(chain([first], text), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        yield f"{path}:1", UserError(f"{path}:1 cannot be read: {describe_read_error(error)}.")
        return
    try:
        stated = next(rows, [])
        begin = above + rows.line_num + 1
        names = [name.strip() or f"Unnamed: {number}" for number, name in enumerate(stated)]
        if len(set(names)) < len(names) or not any(stated):
            raise UserError(f"{path}:{above + 1}: the first line must give every column a different name.")
        for cells in rows:
            where, begin = f"{path}:{above + rows.line_num}", above + rows.line_num + 1
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
    except csv.Error as error:
        yield f"{path}:{begin}", UserError(_explain_damage(error, path, begin, above + rows.line_num))
        return
    except (*READ_ERRORS, UnicodeDecodeError) as error:
        where = f"{path}:{above + rows.line_num + 1}"
        yield where, UserError(f"{where} cannot be read: {describe_read_error(error)}.")
        return
    if empty:
        raise UserError(f"{path} is empty: it needs a line of column names, and one line for each record.")


def _find_delimiter(first: str, usual: str) -> str:
    """Returns the delimiter of a file. `first`: the first line of the file. If the first line does not contain the
    delimiter `usual`, but contains exactly one other delimiter, returns the other delimiter. In all other cases,
    returns `usual`."""
    others = [other for other in _DELIMITERS if other in first]
    return others[0] if usual not in first and len(others) == 1 else usual


def _explain_damage(error: csv.Error, path: Path, begin: int, end: int) -> str:
    """Returns the error message for a record that breaks the rules of CSV. `begin`: the number of the record's first
    line. `end`: the number of the last line that was read."""
    where, reason = f"{path}:{begin}", str(error)
    if reason == "unexpected end of data":
        fault = 'a quotation mark (") opens a cell in the record that begins here, and no second mark closes the cell'
    elif reason.endswith("expected after '\"'"):
        fault = (
            f'a cell in the record that begins here opens with a quotation mark ("), and text follows the closing mark '
            f"on line {end}"
        )
    else:
        return f"{where} cannot be read: {reason}. The rest of the file is not read. Repair the file."
    return (
        f"{where}: {fault}. The rest of the file is not read. Write each quotation mark inside of a cell twice, and put the "
        "cell in quotation marks."
    )


def _read_cell(name: str, cell: str) -> Any:
    """Returns the value of a cell. A cell is parsed as JSON or as a Python literal if the result is a structure (see
    `_is_structure`) or a list of structures. A cell in one of the columns `_LIST_COLUMNS` is also parsed if the result
    is any other list that is not empty. The value of an empty cell is None. The value of every other cell is its
    text."""
    if cell[:1] not in ("[", "{"):
        return cell or None
    value = parse_literal(cell)
    parts = cast(list[Any], value) if isinstance(value, list) else [value]
    if isinstance(value, list) and name in _LIST_COLUMNS:
        return value or cell
    structured = all(_is_structure(part, name) for part in parts)
    return value if parts and structured else cell


def _is_structure(value: Any, column: str) -> bool:
    """Checks whether a parsed value is a structure. Every structure is a mapping. In a text column, only a message or a
    dialogue is a structure. Any other mapping in a text column is a text that happens to be JSON. In all other columns,
    every mapping is a structure."""
    if not isinstance(value, dict):
        return False
    return column not in _TEXT_COLUMNS or is_message(value) or any(name in value for name in _STRUCTURES)
