"""Reads the records of one file as rows, by the table of shapes: the user's own names of fields first, null fields left out.

What a file says as a whole is kept here: how its labels are spelt, which fields no rule reads, which records were left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from preflab.data.answers import LABEL_FIELDS
from preflab.data.gather import gather_records
from preflab.data.labels import FileLabels, LabelError
from preflab.data.lines import ReadLine
from preflab.data.prompts import explain_unknown
from preflab.data.row import DataRecord, DialogueRow, UselessRecordError
from preflab.data.shapes import DIALOGUES, ORDERED, SCORED, SHAPES, VERL, Shape, recognise
from preflab.errors import UserError, nearest
from preflab.text import counted
from preflab.types import Prompt

FieldNames = Mapping[str, str | None]
"""What a field is called here, and where it stands in the user's records: a name, or a path such as `answers.0.text`; None
leaves it unread."""
ReadProblem = Callable[[str, DataRecord, str], Sequence[DialogueRow]]
"""Reads a record of a programming data set by the testbed of the first argument's name. Raises `UselessRecordError` where its
answers cannot be judged."""
_NAMES_SHOWN = 12


class ReadRecord(NamedTuple):
    """A record as it stands in the file, and its rows, or the error that says why it has none."""

    where: str
    record: DataRecord
    rows: Sequence[DialogueRow] = ()
    error: UserError | None = None


class FileReading:
    """One file, as it is read. `shapes`: how many records have each shape; `unread`: how many have each field that their shape
    does not read; `useless`: how many records were left out, by reason. `tested`: whether anything runs tests; where nothing
    does, those of programming data sets and of verl's answers are laid aside."""

    def __init__(
        self, fields: FieldNames | None = None, read_problem: ReadProblem | None = None, *, tested: bool = False
    ) -> None:
        self.shapes = Counter[str]()
        self.unread = Counter[str]()
        self.useless = Counter[str]()
        self._first_useless: dict[str, str] = {}
        self._fields = dict(fields or {})
        self._absent = {name for name in self._fields.values() if name}
        self._read_problem = read_problem
        self._tested = tested
        self._laid_aside = self._unanswered = 0
        self._labels = FileLabels()
        self._labelled = Counter[bool]()

    def read_all(self, lines: Iterable[ReadLine]) -> Iterator[ReadRecord]:
        """Every record with its rows. A record that is broken or useless has its error instead; raises `LabelError` alone."""
        for where, record in gather_records((where, self._rename(record)) for where, record in lines):
            if isinstance(record, UserError):
                yield ReadRecord(where, {}, error=record)
                continue
            try:
                yield ReadRecord(where, record, self.read(record, where))
            except LabelError:
                raise
            except UserError as error:
                yield ReadRecord(where, record, error=error)

    def read_rows(self, lines: Iterable[ReadLine]) -> Iterator[tuple[str, DialogueRow]]:
        """Every row with its place. Useless records are left out and counted. Raises `UserError` for a broken one, where no
        record is of use, and where the user's fields name what no record has."""
        first: UserError | None = None
        empty = True
        for read in self.read_all(lines):
            if isinstance(read.error, UselessRecordError):
                first = first or read.error
            elif read.error is not None:
                raise read.error
            for row in read.rows:
                empty = False
                yield read.where, row
        if empty and first is not None:
            raise first
        self.check_fields()

    def read(self, record: DataRecord, where: str) -> Sequence[DialogueRow]:
        """The rows of one record, whose fields have their names here and are not null."""
        shape = recognise(record)
        if shape is None or ("chosen" in record) != ("rejected" in record):
            raise UserError(explain_unknown(record, where))
        try:
            rows = self._read_by(shape, record, where)
        except UselessRecordError as error:
            self.useless[error.reason] += 1
            self._first_useless.setdefault(error.reason, where)
            raise
        self.shapes[shape.name] += 1
        if not shape.testbed:
            self.unread.update(name for name in record if name not in shape.fields)
        self._unanswered += shape.name in DIALOGUES and rows[0].answer is None and not rows[0].rated
        if LABEL_FIELDS[0] in shape.also:
            self._labelled[any(name in record for name in LABEL_FIELDS)] += 1
        return rows

    def check_fields(self) -> None:
        """Raises `UserError` where the user's fields name one that no record has."""
        if self._absent:
            raise UserError(f"`fields` names {min(self._absent)!r}, which no record has.")

    def write_notes(self) -> list[str]:
        """What every report on these data must say of how they were read."""
        drops = [
            f"{counted(count, 'record')} left out because {why} (first: {self._first_useless[why]})."
            for why, count in self.useless.most_common()
        ]
        return [*drops, *self.write_caveats()]

    def write_caveats(self) -> list[str]:
        """What is to be said of how the records that were not left out were read."""
        notes: list[str] = []
        if self.unread:
            names = [f"`{name}`" for name, _ in self.unread.most_common()]
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            notes.append(f"Fields that are not read: {', '.join(names[:_NAMES_SHOWN])}{more}.")
        if self._labelled[True] and self._labelled[False]:
            notes.append(
                f"{counted(self._labelled[False], 'answer')} without a label, where others have one, taken as good ones."
            )
        if 0 < self._unanswered < sum(self.shapes[name] for name in DIALOGUES):
            notes.append(f"{counted(self._unanswered, 'dialogue')} taken as prompts alone: the last turn is a human's.")
        if self.shapes[SCORED]:
            notes.append(
                f"`response` is not read in {counted(self.shapes[SCORED], 'record')}: its score has no other beside it."
            )
        if self.shapes[ORDERED]:
            notes.append("Lists of answers without a score: the first one is taken for the best.")
        if self._laid_aside:
            notes.append(
                f"The tests of {counted(self._laid_aside, 'record')} are not run: the testbed names no `judge`."
            )
        return notes

    def _read_by(self, shape: Shape, record: DataRecord, where: str) -> Sequence[DialogueRow]:
        if not shape.testbed:
            rows = list(shape.read(record, where, self._labels))
        elif self._read_problem is None:
            raise UserError(f"{where} is a problem of {shape.name}, whose programs nothing runs here.")
        else:
            rows = self._read_problem(shape.testbed, record, where)
        if (shape.testbed or shape.name == VERL) and not self._tested:
            self._laid_aside += 1
            rows = [replace(row, prompt=Prompt(row.prompt.id, row.prompt.turns, row.prompt.level)) for row in rows]
        return rows

    def _rename(self, record: DataRecord | UserError) -> dict[str, Any] | UserError:
        """The record without null fields, the user's own fields under their names here."""
        if isinstance(record, UserError):
            return record
        if not self._fields:
            return {name: value for name, value in record.items() if value is not None}
        sources = {path.partition(".")[0] for path in self._fields.values() if path} | self._fields.keys()
        renamed = {name: value for name, value in record.items() if name not in sources and value is not None}
        for name, path in self._fields.items():
            value = None if path is None else look_up(record, path)
            if value is not None and path is not None:
                self._absent.discard(path)
                renamed[name] = value
        return renamed


def look_up(record: DataRecord, path: str) -> Any:
    """The value of a field, or of a path through mappings and lists (`answers.0.text`); None where there is none."""
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = cast(DataRecord, value).get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(cast(list[Any], value)):
            value = value[int(part)]
        else:
            return None
    return value


def check_names(fields: FieldNames) -> FieldNames:
    """The user's fields; raises `UserError` where one has a name that no shape reads."""
    known = {name for shape in SHAPES for name in shape.fields}
    for name in fields:
        if name not in known:
            raise UserError(f"no shape reads a field {name!r}.{nearest(name, known)}")
    return fields


def parse_record(record: DataRecord, where: str) -> DialogueRow:
    """A record that makes one row, as that row; raises `UserError` naming file, line and field."""
    present = {name: value for name, value in record.items() if value is not None}
    rows = FileReading().read(present, where)
    if len(rows) != 1:
        raise UserError(f"{where} holds {len(rows)} dialogues, and here it must be one.")
    return rows[0]
