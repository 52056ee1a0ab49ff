"""Writes the flawless records of a source to a new file, and says which records were left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from preflab.data.faults import FaultFinder
from preflab.data.lines import ReadLine
from preflab.data.reading import FileReading, ReadRecord
from preflab.errors import UserError


class Dropped(NamedTuple):
    """The place of a record that was left out, and the reason."""

    where: str
    reason: str


def write_clean(
    out: Path, lines: Iterable[ReadLine], reading: FileReading, contradicted: frozenset[int]
) -> tuple[int, list[Dropped]]:
    """Writes every record that has at least one row without a fault. Each record is one JSON object on a line of its own,
    with its fields under the names that preflab reads.

    `contradicted`: the keys in `SourceCheck.contradicted` that `check_source` returned for these lines. Returns the number
    of records written, and the records left out. Raises `UserError` if the file cannot be written or exists already.
    """
    try:
        with out.open("x", encoding="utf-8") as file:
            return _write_records(file, lines, reading, FaultFinder(contradicted))
    except FileExistsError as error:
        raise UserError(f"{out} exists: name a new file.") from error
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error


def _write_records(
    file: TextIO, lines: Iterable[ReadLine], reading: FileReading, finder: FaultFinder
) -> tuple[int, list[Dropped]]:
    written, dropped = 0, list[Dropped]()
    for read in reading.read_all(lines):
        reason = explain_drop(read, finder)
        if reason:
            dropped.append(Dropped(read.where, reason))
        else:
            file.write(json.dumps(dict(read.record), ensure_ascii=False, default=str) + "\n")
            written += 1
    return written, dropped


def explain_drop(read: ReadRecord, finder: FaultFinder) -> str:
    """Says why a record is left out. Empty if one of the record's rows has no fault, since the record is then kept."""
    if read.error is not None:
        return str(read.error)
    faults = [finder.find(row) for row in read.rows]
    if not faults:
        return "it holds no row"
    return "" if not all(faults) else ", ".join(dict.fromkeys(fault for of_row in faults for fault in of_row))
