"""Reads the records of one file as rows, by the table of shapes. Null fields are left out first, and the user's own field
names are replaced by preflab's.

Also keeps what concerns the whole file: how its labels are spelt, which fields no rule reads, which records were left out.
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
"""Maps the name that a field has in preflab to the place of the field in the user's records: a name, or a path such as
`answers.0.text`. None leaves the field unread."""
ReadProblem = Callable[[str, DataRecord, str], Sequence[DialogueRow]]
"""Reads a record of a programming data set with the testbed that the first argument names. Raises `UselessRecordError` if
answers to the record's problem cannot be judged."""
_NAMES_SHOWN = 12


class ReadRecord(NamedTuple):
    """A record as it stands in the file, with its place, and either its rows or the error that says why it has no rows."""

    where: str
    record: DataRecord
    rows: Sequence[DialogueRow] = ()
    error: UserError | None = None


class FileReading:
    """Reads one file, and counts what it reads. `shapes`: how many records have each shape. `unread`: how many records have
    each field that the shape of the record does not read. `useless`: how many records were left out, by reason. `tested`:
    whether anything runs tests. If nothing runs tests, the tests in records of programming data sets and of verl are left
    out."""

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
        """Yields every record with its rows. A record that is broken or useless has an error instead of rows. The only error
        that is raised is `LabelError`."""
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
        """Yields every row with its place. Useless records are left out and counted. Raises `UserError` if a record is
        broken, if no record is of use, or if the setting `fields` refers to a field that no record has."""
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
        """Returns the rows of one record. The record must have its fields under preflab's names, and no null fields."""
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
        """Raises `UserError` if the user's fields name a field that no record has."""
        if self._absent:
            raise UserError(f"`fields` names {min(self._absent)!r}, which no record has.")

    def write_notes(self) -> list[str]:
        """Lists what every report on these data must say about how the records were read."""
        drops = [
            f"{counted(count, 'record')} left out because {why} (first: {self._first_useless[why]})."
            for why, count in self.useless.most_common()
        ]
        return [*drops, *self.write_caveats()]

    def write_caveats(self) -> list[str]:
        """Lists what must be said about the reading of the records that were not left out."""
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
        """Returns the record without null fields. The user's own fields stand under preflab's names."""
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
    """Returns the value of a field, or of a path through mappings and lists (`answers.0.text`); None if the record has no
    value there."""
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
    """Returns the user's fields. Raises `UserError` if a field has a name that no shape reads."""
    known = {name for shape in SHAPES for name in shape.fields}
    for name in fields:
        if name not in known:
            raise UserError(f"no shape reads a field {name!r}.{nearest(name, known)}")
    return fields


def parse_record(record: DataRecord, where: str) -> DialogueRow:
    """Returns the one row of a record. Raises `UserError`, which names file, line and field, if the record is broken. Also
    raises it if the record makes no row or several."""
    present = {name: value for name, value in record.items() if value is not None}
    rows = FileReading().read(present, where)
    if len(rows) != 1:
        raise UserError(f"{where} holds {len(rows)} dialogues, and here it must be one.")
    return rows[0]
