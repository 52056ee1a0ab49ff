"""Turns the records of one file into rows. The fields of a record show its shape (see `shapes`). Each shape has a
function that reads records of this shape.

Before a record is read, its null fields are removed, and the user's fields are renamed to preflab's names. The module
also collects facts about the whole file: the spelling of its labels, the fields that are not read, and the records that
are left out.
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
"""Maps preflab's name of a field to the field in the user's records. The user's field is given by its name, or by a
path such as `answers.0.text`. None means that the field is not read."""
ReadProblem = Callable[[str, DataRecord, str], Sequence[DialogueRow]]
"""A function that reads a record of a programming data set. Its first argument is the name of the testbed that reads
the record. It raises `UselessRecordError` if answers to the problem in the record cannot be judged."""
_NAMES_SHOWN = 12
READ_FIELDS = frozenset(name for shape in SHAPES for name in shape.fields)
"""All field names that preflab can read: the fields of all shapes."""


class ReadRecord(NamedTuple):
    """A record with preflab's field names, and the result of reading it. `where`: the place of the record in the file.
    `rows`: the rows of the record. `error`: the reason why the record has no rows, or None."""

    where: str
    record: DataRecord
    rows: Sequence[DialogueRow] = ()
    error: UserError | None = None


class FileReading:
    """Reads the records of one file, and counts them. `shapes`: maps each shape to the number of its records. `unread`:
    maps each field that is not read to the number of records with this field. `useless`: maps each reason to the number
    of records that were left out for this reason. `untried`: the number of records whose tests no judge will run.
    `tested`: whether a judge will run the tests. If `tested` is False, tests are not read, so that a record with a
    broken test can still be used."""

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
        """Returns a new `FileReading` for a file whose records already use preflab's field names. The new object has
        the settings of this object, without `fields`."""
        return FileReading(None, self._read_problem, tested=self._tested)

    def read_all(self, lines: Iterable[ReadLine]) -> Iterator[ReadRecord]:
        """Yields every record with its rows. A record that is broken or useless has an error instead of rows. Raises
        `LabelError` if the meaning of a label is not clear. This error may come after the last record."""
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
        """Yields every row of the file with the place of its record. Skips and counts useless records. Raises
        `UserError` if a record is broken, if all records are useless, or if the setting `fields` refers to a field that
        does not exist in any record."""
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
        """Returns the rows of one record. The record must use preflab's field names and must not contain null fields.
        Raises `UserError` if the record cannot be read."""
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
        """Counts a record that is left out, by the reason in `error`. Stores the place of the first record for each
        reason."""
        self.useless[error.reason] += 1
        self._first_useless.setdefault(error.reason, where)

    def check_fields(self) -> None:
        """Raises `UserError` if the setting `fields` refers to a field that does not exist in any record."""
        if self._absent:
            raise UserError(f"`fields` refers to {min(self._absent)!r}, but no record has this field.")

    def write_notes(self) -> list[str]:
        """Returns sentences about how the records were read: which records were left out, and the notes of
        `write_caveats`. Every report on these data must print these sentences."""
        drops = [
            f"{counted(count, 'record')} left out because {why} (first: {self._first_useless[why]})."
            for why, count in self.useless.most_common()
        ]
        return [*drops, *self.write_caveats()]

    def write_caveats(self) -> list[str]:
        """Returns sentences about the records that were not left out. The sentences describe fields and tests that
        are not used, marks of a chat template, and assumptions about prompts and answers."""
        notes: list[str] = []
        if self.unread:
            names = [f"`{name}`" for name, _ in self.unread.most_common()]
            more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            notes.append(f"Fields that are not read: {', '.join(names[:_NAMES_SHOWN])}{more}.")
        if self._rendered:
            notes.append(
                f"{counted(self._rendered, 'record')} with marks of a chat template in the texts (`<|im_start|>`, `[INST]`, "
                "`</s>`): the marks are read as plain text. Remove them, because the model's template adds its own marks."
            )
        if self._labelled[True] and self._labelled[False]:
            notes.append(
                f"{counted(self._labelled[False], 'answer')} without a label: taken as good, because other answers have labels."
            )
        if 0 < self._unanswered < sum(self.shapes[name] for name in DIALOGUES):
            notes.append(
                f"{counted(self._unanswered, 'dialogue')} taken as prompts, because the last turn is a human's turn."
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
            notes.append(f"The tests of {counted(self._laid_aside, 'record')} are not run: the testbed has no `judge`.")
        return notes

    def _read_by(self, shape: Shape, record: DataRecord, where: str) -> Sequence[DialogueRow]:
        if not shape.testbed and self._tested:
            return list(shape.read(record, where, self._labels))
        if not shape.testbed:
            return self._read_without_tests(shape, record, where)
        if self._read_problem is None:
            raise UserError(f"{where} is a programming problem of {shape.name}. Only a testbed can read such problems.")
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
        """Returns the record without null fields, and with the user's fields renamed to preflab's names. Returns an
        error if the record has an answer whose score is null. Without the score, such an answer would become a
        demonstration."""
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
    """Returns a value in a record. `path`: the name of a field, or a path through mappings and lists, such as
    `answers.0.text`. Returns None if the record has no such field or path."""
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
    """Returns `fields` unchanged after a check. Raises `UserError` if a key is not a field that preflab reads. A key
    with the value None is always accepted, because None means that the field is ignored."""
    for name, place in fields.items():
        if name not in READ_FIELDS and place is not None:
            raise UserError(f"preflab does not read a field {name!r}.{nearest(name, READ_FIELDS)}")
    return fields
