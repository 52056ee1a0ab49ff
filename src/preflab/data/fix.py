"""Writes the records without faults to a new file. Reports which records were left out, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TextIO

from preflab.data.faults import FaultFinder
from preflab.data.files import read_file
from preflab.data.lines import ReadLine
from preflab.data.reading import FileReading, ReadRecord
from preflab.data.row import DialogueRow
from preflab.errors import UserError

_SUFFIXES = (".jsonl", ".ndjson")


class Dropped(NamedTuple):
    """A record that was left out of the new file. `where`: the place of the record. `reason`: why the record was left
    out."""

    where: str
    reason: str


def require_json_lines(out: Path) -> None:
    """Raises `UserError` if the name of the new file does not end in `.jsonl` or `.ndjson`."""
    if out.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{out}: the records are written as JSON lines. Give a file name that ends in `.jsonl`.")


def write_clean(
    out: Path,
    lines: Iterable[ReadLine],
    reading: FileReading,
    contradicted: frozenset[int],
    find_refusal: Callable[[DialogueRow], str] = lambda row: "",
) -> tuple[int, list[Dropped]]:
    """Writes every record that has at least one row without a fault to the file `out`. Each record becomes one line of
    JSON with preflab's field names. Returns the number of records written, and the records left out. If no record is
    written, the file is removed.

    `lines`: the records of the source. `contradicted`: the attribute `contradicted` of the `SourceCheck` that
    `check_source` returned for these records. `find_refusal`: see `LengthMeasure`. A row that the model's chat template
    does not accept has a fault. Raises `UserError` if `out` already exists, if `out` cannot be written, if the name of
    `out` does not end in `.jsonl` or `.ndjson`, or if a written record cannot be read.
    """
    require_json_lines(out)
    try:
        with out.open("x", encoding="utf-8") as file:
            try:
                written, dropped = _write_records(file, lines, reading, FaultFinder(contradicted), find_refusal)
                file.flush()
                if written:
                    _check_written(out, written, reading.begin_again())
            except BaseException:
                out.unlink()
                raise
        if not written:
            out.unlink()
        return written, dropped
    except FileExistsError as error:
        raise UserError(f"{out} already exists. Give the name of a new file.") from error
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error


def _write_records(
    file: TextIO,
    lines: Iterable[ReadLine],
    reading: FileReading,
    finder: FaultFinder,
    find_refusal: Callable[[DialogueRow], str],
) -> tuple[int, list[Dropped]]:
    written, dropped = 0, list[Dropped]()
    for read in reading.read_all(lines):
        reason = explain_drop(read, finder, find_refusal)
        if reason:
            dropped.append(Dropped(read.where, reason))
        else:
            file.write(json.dumps(dict(read.record), ensure_ascii=False, default=str) + "\n")
            written += 1
    return written, dropped


def _check_written(out: Path, written: int, reading: FileReading) -> None:
    """Reads the written file in the same way as a user's file. Raises `UserError` if a written record cannot be read.
    This happens if the meaning of the record depended on a record that was left out."""
    try:
        read = sum(1 for record in reading.read_all(read_file(out)) if _take(record))
    except UserError as error:
        raise UserError(
            f"{out} is not written: without the faulty records, preflab cannot read its {written} records. {error}"
        ) from error
    if read != written:
        raise UserError(f"{out} is not written: preflab can read only {read} of its {written} records.")


def _take(read: ReadRecord) -> bool:
    if read.error is not None:
        raise read.error
    return bool(read.rows)


def explain_drop(
    read: ReadRecord, finder: FaultFinder, find_refusal: Callable[[DialogueRow], str] = lambda row: ""
) -> str:
    """Returns the reason why a record is left out. Returns an empty string if at least one row of the record has no
    fault, because such a record is kept."""
    if read.error is not None:
        return str(read.error)
    faults = [[*finder.find(row), *filter(None, [find_refusal(row)])] for row in read.rows]
    if not faults:
        return "it has neither a prompt nor an answer"
    return "" if not all(faults) else ", ".join(dict.fromkeys(fault for of_row in faults for fault in of_row))
