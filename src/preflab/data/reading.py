"""Turns the records of one file into rows: recognises the shape of each record, and reads the record by that shape.

First drops null fields, and renames the user's own fields to preflab's names. Also collects what concerns the whole
file: the spelling of its labels, the fields that are not read, and the records that were left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from preflab.data.answers import read_prompt_alone
from preflab.data.gather import SCORE, UNSCORED, gather_records
from preflab.data.labels import LABEL_FIELDS, FileLabels, LabelError, tidy_labels
from preflab.data.lines import ReadLine
from preflab.data.problems import drop_tests
from preflab.data.prompts import explain_unknown
from preflab.data.rendered import is_rendered
from preflab.data.row import DataRecord, DialogueRow, UselessRecordError
from preflab.data.shapes import DIALOGUES, ORDERED, SCORED, SHAPES, TEXTS_ALONE, VERL, Shape, name_unread, recognise
from preflab.errors import UserError, nearest
from preflab.text import counted
from preflab.types import Prompt

FieldNames = Mapping[str, str | None]
"""Maps preflab's name of a field to the field's place in the user's records: a name, or a path such as
`answers.0.text`. A field whose place is None is not read."""
ReadProblem = Callable[[str, DataRecord, str], Sequence[DialogueRow]]
"""A function that reads a record of a programming data set with the testbed named by its first argument. Raises
`UselessRecordError` if answers to the record's problem cannot be judged."""
_NAMES_SHOWN = 12
READ_FIELDS = frozenset(name for shape in SHAPES for name in shape.fields)
"""Every field that some shape reads."""


class ReadRecord(NamedTuple):
    """A record with preflab's field names, its place in the file, and either its rows or the error that says why it has
    no rows."""

    where: str
    record: DataRecord
    rows: Sequence[DialogueRow] = ()
    error: UserError | None = None


class FileReading:
    """Reads one file, and counts what it reads. `shapes`: how many records have each shape. `unread`: for each field
    that is not read, how many records have it. `useless`: for each reason, how many records were left out.
    `untried`: how many records have tests of their own that no judge will run. `tested`: whether a judge will run the
    tests. If `tested` is False, tests are not read, so that a broken test does not make its record unusable."""

    def __init__(
        self, fields: FieldNames | None = None, read_problem: ReadProblem | None = None, *, tested: bool = False
    ) -> None:
        self.shapes = Counter[str]()
        self.unread = Counter[str]()
        self.useless = Counter[str]()
        self._first_useless: dict[str, str] = {}
        self._fields = dict(fields or {})
        self._absent = {name for name in self._fields.values() if name} | (self._fields.keys() - READ_FIELDS)
        self._read_problem = read_problem
        self._tested = tested
        self.untried = self._laid_aside = self._unanswered = self._rendered = 0
        self._labels = FileLabels()
        self._labelled = Counter[bool]()

    def begin_again(self) -> FileReading:
        """Returns a new `FileReading` with the same settings, for a file whose records already use preflab's field
        names."""
        return FileReading(None, self._read_problem, tested=self._tested)

    def read_all(self, lines: Iterable[ReadLine]) -> Iterator[ReadRecord]:
        """Yields every record with its rows. A broken or useless record has an error instead of rows. Raises only
        `LabelError`, possibly after the last record."""
        for where, record in gather_records((where, self._rename(record, where)) for where, record in lines):
            if isinstance(record, UselessRecordError):
                self._leave_out(record, where)
            if isinstance(record, UserError):
                yield ReadRecord(where, {}, error=record)
                continue
            try:
                yield ReadRecord(where, record, self.read(record, where))
            except LabelError:
                raise
            except UserError as error:
                yield ReadRecord(where, record, error=error)
        self._labels.check_choices()

    def read_rows(self, lines: Iterable[ReadLine]) -> Iterator[tuple[str, DialogueRow]]:
        """Yields every row with its place. Skips and counts useless records. Raises `UserError` if a record is broken,
        if every record is useless, or if the setting `fields` refers to a field that no record has."""
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
        """Returns the rows of one record. The record must use preflab's field names, and have no null fields."""
        shape = recognise(record)
        if shape is None or len({"chosen", "rejected"} & (record.keys() - shape.fields)) == 1:
            raise UserError(explain_unknown(record, where))
        try:
            rows = self._read_by(shape, record, where)
        except UselessRecordError as error:
            self._leave_out(error, where)
            raise
        self.shapes[shape.name] += 1
        if not shape.testbed:
            self.unread.update(name_unread(shape, record))
        self._rendered += any(map(is_rendered, rows))
        self._unanswered += shape.name in DIALOGUES and rows[0].answer is None and not rows[0].rated
        if LABEL_FIELDS[0] in shape.also:
            labels = [name for name in LABEL_FIELDS if name in record]
            self._labelled[bool(labels) or rows[0].rated] += 1
            self.unread.update(labels[1:] if rows[0].rated else labels)
        return rows

    def _leave_out(self, error: UselessRecordError, where: str) -> None:
        """Counts a record that is left out."""
        self.useless[error.reason] += 1
        self._first_useless.setdefault(error.reason, where)

    def check_fields(self) -> None:
        """Raises `UserError` if the setting `fields` refers to a field that no record has."""
        if self._absent:
            raise UserError(f"`fields` names {min(self._absent)!r}, which no record has.")

    def write_notes(self) -> list[str]:
        """Returns the notes that every report on these data must print about how the records were read."""
        drops = [
            f"{counted(count, 'record')} left out because {why} (first: {self._first_useless[why]})."
            for why, count in self.useless.most_common()
        ]
        return [*drops, *self.write_caveats()]

    def write_caveats(self) -> list[str]:
        """Returns the notes about the records that were kept: fields that are not read, and assumptions about
        answers."""
        notes: list[str] = []
        if self.unread:
            names = [f"`{name}`" for name, _ in self.unread.most_common()]
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            notes.append(f"Fields that are not read: {', '.join(names[:_NAMES_SHOWN])}{more}.")
        if self._rendered:
            notes.append(
                f"{counted(self._rendered, 'record')} with marks of a chat template in the texts (`<|im_start|>`, `[INST]`, "
                "`</s>`): they are read as plain text, and the model's template writes its own marks around them. Remove them."
            )
        if self._labelled[True] and self._labelled[False]:
            notes.append(
                f"{counted(self._labelled[False], 'answer')} without a label: taken as good, because others have one."
            )
        if 0 < self._unanswered < sum(self.shapes[name] for name in DIALOGUES):
            notes.append(
                f"{counted(self._unanswered, 'dialogue')} taken as prompts, because the last turn is a human's."
            )
        if self.shapes[SCORED]:
            notes.append(
                f"`response` is not read in {counted(self.shapes[SCORED], 'record')} with only one scored answer."
            )
        if self.shapes[TEXTS_ALONE]:
            notes.append(
                f"{counted(self.shapes[TEXTS_ALONE], 'pair')} without a prompt: the words with which both texts begin are read "
                "as the prompt, and the rest as the answers."
            )
        if self.shapes[ORDERED]:
            notes.append("In lists of answers without scores, the first answer is taken as the best.")
        if self._laid_aside:
            notes.append(
                f"The tests of {counted(self._laid_aside, 'record')} are not run: the testbed names no `judge`."
            )
        return notes

    def _read_by(self, shape: Shape, record: DataRecord, where: str) -> Sequence[DialogueRow]:
        if not shape.testbed and self._tested:
            return list(shape.read(record, where, self._labels))
        if not shape.testbed:
            return self._read_without_tests(shape, record, where)
        if self._read_problem is None:
            raise UserError(f"{where} is a programming problem of {shape.name}, and nothing here can run programs.")
        rows = self._read_problem(shape.testbed, record, where)
        if self._tested:
            return rows
        self._laid_aside += 1
        return [replace(row, prompt=Prompt(row.prompt.id, row.prompt.turns, row.prompt.level)) for row in rows]

    def _read_without_tests(self, shape: Shape, record: DataRecord, where: str) -> Sequence[DialogueRow]:
        plain = drop_tests(record)
        read = read_prompt_alone if shape.name == VERL else shape.read
        rows = list(read(plain, where, self._labels))
        self.untried += plain is not record
        self._laid_aside += plain is not record or shape.name == VERL
        return rows

    def _rename(self, record: DataRecord | UserError, where: str) -> dict[str, Any] | UserError:
        """Returns the record without null fields, and with the user's own fields renamed to preflab's names. Returns an
        error for an answer whose score is null: without the score it would become a demonstration."""
        if isinstance(record, UserError):
            return record
        renamed = self._rename_fields(record)
        score = self._fields.get(SCORE, SCORE)
        unscored = score is not None and score in record and record[score] is None
        if unscored and {"prompt", "response"} <= renamed.keys():
            return UselessRecordError(f"{where}: {UNSCORED}.", UNSCORED)
        return renamed

    def _rename_fields(self, record: DataRecord) -> dict[str, Any]:
        if not self._fields:
            return tidy_labels({name: value for name, value in record.items() if value is not None}, ())
        sources = {path.partition(".")[0] for path in self._fields.values() if path} | self._fields.keys()
        renamed = {name: value for name, value in record.items() if name not in sources and value is not None}
        for name, path in self._fields.items():
            if path is None and name in record:
                self._absent.discard(name)
            value = None if path is None else look_up(record, path)
            if value is not None and path is not None:
                self._absent.discard(path)
                renamed[name] = value
        return tidy_labels(renamed, self._fields.keys())


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
    """Returns `fields`. Raises `UserError` if a key is a field that preflab does not read, unless its value is
    None, which means that the field is ignored."""
    for name, place in fields.items():
        if name not in READ_FIELDS and place is not None:
            raise UserError(f"preflab reads no field {name!r}.{nearest(name, READ_FIELDS)}")
    return fields
