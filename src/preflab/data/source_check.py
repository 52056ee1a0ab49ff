"""Counts the records of a data source and finds faults in the records, in a single pass."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from preflab.data.claims import Claims
from preflab.data.faults import CONTRADICTED, FaultFinder, list_answers
from preflab.data.length_bias import LengthBias
from preflab.data.lines import ReadLine
from preflab.data.reading import FileReading, ReadRecord
from preflab.data.row import DialogueRow, UselessRecordError
from preflab.data.safety import name_safety
from preflab.types import Completion, Problem, Prompt

_PLACES_SHOWN = 3


class LengthMeasure(NamedTuple):
    """The functions that measure the lengths of prompts and answers. `unit`: the name of the unit of length. `prompt`,
    `answer`: the functions that return the length of a prompt and of an answer. `limit`: the greatest total length of a
    prompt and its answer, or None for no limit. `find_refusal`: a function that checks whether the model's chat
    template accepts a row. The function returns '' if the template accepts the row, and otherwise the name of the
    fault."""

    unit: str
    prompt: Callable[[Prompt], int]
    answer: Callable[[Completion], int]
    limit: int | None = None
    find_refusal: Callable[[DialogueRow], str] = lambda row: ""


CHARACTERS = LengthMeasure(
    "characters",
    lambda prompt: sum(len(turn.content) for turn in prompt.turns),
    lambda answer: len(answer.text),
)


class Lengths(BaseModel):
    """The distribution of lengths. `p90`: the 90th percentile. `histogram`: maps each power of two, 2^k, to the number
    of lengths that are at least 2^(k-1) and below 2^k. Length 0 counts for k = 0."""

    model_config = ConfigDict(frozen=True)
    smallest: int
    median: int
    p90: int
    largest: int
    histogram: dict[int, int]


class Fault(BaseModel):
    """The records with a certain fault. `count`: the number of these records. `first`: the places of the first few of
    them."""

    model_config = ConfigDict(frozen=True)
    count: int = 0
    first: list[str] = []


class SourceCheck(BaseModel):
    """The result of `check_source` for one source.

    shapes: maps each shape to the number of records with this shape.
    records: the number of all records.
    usable: the number of records with at least one row.
    flawless: the number of records with at least one row without a fault. A contradicted row has a fault.
    kinds: maps each kind of training example (prompt, demonstration, pair, ...) to the number of such examples.
    turns: maps each number of turns to the number of prompts with so many turns.
    prompt_lengths, answer_lengths: the distributions of the lengths of prompts and answers, in `unit`.
    truncated: the fraction of rows that are longer than the limit, such as the model's context. None without a limit.
    broken: the records that cannot be read.
    first_broken: the reason why the first broken record cannot be read.
    faults: maps each fault of readable records to the records with this fault.
    longer_wins, length_only_accuracy: see `LengthBias`. Lengths are measured in `unit`.
    unread: maps each field that is not read to the number of records with this field.
    safety: the numbers of pairs with two, one and no safe answers. A pair is counted only if both of its answers have
    a safety label.
    """

    model_config = ConfigDict(frozen=True)
    source: str
    shapes: dict[str, int]
    records: int
    usable: int
    flawless: int
    kinds: dict[str, int]
    turns: dict[int, int]
    unit: str
    prompt_lengths: Lengths | None
    answer_lengths: Lengths | None
    truncated: float | None
    broken: Fault
    first_broken: str
    faults: dict[str, Fault]
    longer_wins: float | None
    length_only_accuracy: float | None
    unread: dict[str, int]
    safety: dict[str, int] = {}
    notes: list[str]
    first: Any = Field(default=None, exclude=True)
    """An example of a readable record with its rows, as a `ReadRecord`. The example is the first record whose first row
    the model's chat template accepts. If the template accepts no such row, the example is the first readable record."""
    prompt_keys: frozenset[int] = Field(default=frozenset(), exclude=True, repr=False)
    contradicted: frozenset[int] = Field(default=frozenset(), exclude=True, repr=False)


def check_source(
    name: str, lines: Iterable[ReadLine], reading: FileReading, measure: LengthMeasure = CHARACTERS
) -> SourceCheck:
    """Reads every record of a source and returns counts and faults as a `SourceCheck`. `name`: the name of the source.
    `lines`: its records. Raises `UserError` if the source does not exist, if the meaning of a label is not clear, or if
    the setting `fields` refers to a field that does not exist in any record."""
    tally = _Tally(measure)
    for read in reading.read_all(lines):
        tally.add(read)
    reading.check_fields()
    return SourceCheck(
        source=name,
        shapes=dict(reading.shapes.most_common()),
        unread=dict(reading.unread.most_common()),
        notes=reading.write_caveats(),
        **tally.summarize(),
    )


def find_leaks(checks: Sequence[SourceCheck]) -> list[tuple[str, str, int]]:
    """Compares every source with every other source. If two sources share prompts, the result contains a tuple with the
    names of these sources and the number of shared prompts."""
    shared = [(one.source, two.source, len(one.prompt_keys & two.prompt_keys)) for one, two in combinations(checks, 2)]
    return [leak for leak in shared if leak[2]]


class _Tally:
    def __init__(self, measure: LengthMeasure) -> None:
        self.measure = measure
        self.finder = FaultFinder()
        self.bias = LengthBias()
        self.claims = Claims()
        self.records = self.usable = self.rows = self.over = 0
        self.kinds, self.turns, self.safety = Counter[str](), Counter[int](), Counter[str]()
        self.prompt_lengths, self.answer_lengths = array("q"), array("q")
        self.faults: dict[str, list[str]] = {}
        self.fault_counts = Counter[str]()
        self.broken: list[str] = []
        self.broken_count = 0
        self.first_broken = ""
        self.first: ReadRecord | None = None
        self.first_taken = False
        self.prompts: set[int] = set()

    def add(self, read: ReadRecord) -> None:
        self.records += 1
        if isinstance(read.error, UselessRecordError):
            self._blame(read.where, [read.error.reason])
        elif read.error is not None:
            self.broken_count += 1
            self.first_broken = self.first_broken or str(read.error)
            self.broken += [read.where] if self.broken_count <= _PLACES_SHOWN else []
        elif read.rows:
            self.usable += 1
            self._keep_first(read)
            faults = [self._add_row(row) for row in read.rows]
            self.claims.add([row for row, row_faults in zip(read.rows, faults, strict=True) if not row_faults])
            self._blame(read.where, dict.fromkeys(fault for of_row in faults for fault in of_row))

    def _keep_first(self, read: ReadRecord) -> None:
        if not self.first_taken:
            self.first_taken = not self.measure.find_refusal(read.rows[0])
            self.first = read if self.first_taken else self.first or read

    def _blame(self, where: str, faults: Iterable[str]) -> None:
        for fault in faults:
            self.fault_counts[fault] += 1
            places = self.faults.setdefault(fault, [])
            if len(places) < _PLACES_SHOWN:
                places.append(where)

    def _add_row(self, row: DialogueRow) -> list[str]:
        self.rows += 1
        key = hash(row.prompt.turns)
        if key not in self.prompts:
            self.prompts.add(key)
            self.turns[len(row.prompt.turns)] += 1
        self._count_kinds(row)
        faults = self.finder.find(row)
        refusal = self.measure.find_refusal(row)
        if refusal:
            return [*faults, refusal]
        self._measure_row(row)
        return faults

    def _count_kinds(self, row: DialogueRow) -> None:
        self.kinds["demonstrations"] += row.answer is not None
        self.kinds["pairs"] += row.answer is not None and row.rejected is not None
        chosen_safe, rejected_safe = row.safe
        if chosen_safe is not None and rejected_safe is not None:
            self.safety[name_safety((chosen_safe, rejected_safe))] += 1
        self.kinds["rankings"] += bool(row.ranked)
        if row.rated:
            self.kinds["good answers" if row.answer is not None else "bad answers"] += 1
        self.kinds["problems with tests"] += isinstance(row.prompt, Problem)

    def _measure_row(self, row: DialogueRow) -> None:
        prompt = self.measure.prompt(row.prompt)
        lengths = [self.measure.answer(answer) for answer in list_answers(row)]
        self.prompt_lengths.append(prompt)
        self.answer_lengths.extend(lengths)
        if self.measure.limit is not None:
            self.over += prompt + max(lengths, default=0) > self.measure.limit
        if row.answer is not None and row.rejected is not None:
            self.bias.add(lengths[0], lengths[-1])

    def summarize(self) -> dict[str, Any]:
        """Returns the fields of a `SourceCheck` that are computed from the records and rows added so far."""
        contradicted = frozenset(self.finder.contradicted)
        lost = self.claims.count_lost(contradicted)
        if lost:
            self.fault_counts[CONTRADICTED] += lost
        counts = self.fault_counts.most_common()
        return {
            "records": self.records,
            "usable": self.usable,
            "flawless": self.claims.records - lost,
            "kinds": {"prompts": len(self.prompts), **{kind: count for kind, count in self.kinds.items() if count}},
            "turns": dict(sorted(self.turns.items())),
            "unit": self.measure.unit,
            "prompt_lengths": summarize_lengths(self.prompt_lengths),
            "answer_lengths": summarize_lengths(self.answer_lengths),
            "truncated": None if self.measure.limit is None or not self.rows else self.over / self.rows,
            "broken": Fault(count=self.broken_count, first=self.broken),
            "first_broken": self.first_broken,
            "faults": {fault: Fault(count=count, first=self.faults[fault]) for fault, count in counts},
            "longer_wins": self.bias.longer_wins,
            "length_only_accuracy": self.bias.length_only_accuracy,
            "safety": dict(self.safety.most_common()),
            "first": self.first,
            "prompt_keys": frozenset(self.prompts),
            "contradicted": contradicted,
        }


def summarize_lengths(lengths: Iterable[int]) -> Lengths | None:
    """Returns the distribution of the lengths. Returns None if there are no lengths."""
    ordered = sorted(lengths)
    if not ordered:
        return None
    bins = Counter(1 << length.bit_length() for length in ordered)
    return Lengths(
        smallest=ordered[0],
        median=ordered[(len(ordered) - 1) // 2],
        p90=ordered[(len(ordered) - 1) * 9 // 10],
        largest=ordered[-1],
        histogram=dict(sorted(bins.items())),
    )
