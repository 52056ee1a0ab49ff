"""Defines `Code`, the base class of all programming testbeds. It reads the records, splits them, and opens the
testbed."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from preflab.data.files import read_file
from preflab.data.hub import check_on_hub, list_hub_splits, load_hub_records
from preflab.data.lines import check_text, require_records
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.paths import user_path
from preflab.sandbox.answer import Recipe
from preflab.sandbox.judging import SandboxJudge
from preflab.sandbox.verdict import ProgramTask
from preflab.spec import Context
from preflab.testbeds.base import SPLITS
from preflab.testbeds.code.evidence import SHOWN, apply_evidence, read_evidence
from preflab.testbeds.code.exercise import Exercise
from preflab.testbeds.code.sandboxed import Sandboxed
from preflab.testbeds.code.several import MANY, UNSAID
from preflab.testbeds.code.stub import find_untested, list_deciding
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.provenance import place_key, place_split
from preflab.types import Completion, Problem, Split, Turn

SPLIT_NAMES: Mapping[str, Split] = {"train": "train", "validation": "validation", "valid": "validation", "test": "test"}
_ID_FIELDS = ("task_id", "problem_id", "question_id", "id", "name")
_LONGEST_REASON = 200  # the description of a fault in a record is cut to this number of characters
_NAMED = 3  # a note names at most this number of problems
RawRecord = tuple[Split | None, str, Mapping[str, Any]]
"""The split in the name of the record's file (None if the name has no split), the record's place (file and line), and
the record itself."""
_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")


class Code(Sandboxed):
    """The settings of a programming testbed. `validation`, `test`: the fraction of the training problems that moves
    into this split if the data do not have this split. `public_first`: the number of hidden tests that become public if
    a problem has no public tests. `several`: the treatment of problems that have several right answers, but no program
    that judges answers. "drop" leaves these problems out. "keep" judges an answer to such a problem by the one answer
    in the data. `evidence`: a file that `preflab testbed verify --out` wrote. With this file, preflab recognises more
    problems that have several right answers. `max_tests`: the largest number of hidden tests that are used for each
    problem. These are the first tests in the data. `max_prompt_chars`: problems with more characters in the statement
    are left out. `time_limit_s` applies to problems without a time limit in the data. `shots`: the number of solved
    training problems that are put before each statement as examples."""

    evaluator: ClassVar[str | None] = "hidden-tests"
    data: str
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    public_first: Annotated[int, Field(ge=0)] = 0
    several: Literal["drop", "keep"] = "drop"
    evidence: str = ""
    max_tests: Annotated[int, Field(ge=1)] | None = None
    max_prompt_chars: Annotated[int, Field(ge=1)] | None = None
    shots: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _shares(self) -> Code:
        if self.validation + self.test >= 1:
            raise ValueError(
                "the sum of the shares `validation` and `test` must be less than 1, to leave data for training"
            )
        return self

    @property
    def title(self) -> str:
        """The name of the testbed, which is the default of the class's field `kind`."""
        return str(type(self).model_fields["kind"].default)

    @abstractmethod
    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        """Converts a record into an exercise. An implementation can raise `UserError`, or any exception that a missing
        or wrong field causes. `read_exercise` converts such an exception into a `UserError`."""

    def name_record(self, record: Mapping[str, Any], where: str) -> str:
        """Returns a name for an unreadable record: the record's id if it has an id, and its place (file and line)
        otherwise."""
        return next((str(record[field]) for field in _ID_FIELDS if record.get(field) is not None), where)

    def read_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        """Converts a record into an exercise, and checks the exercise. A field that is null counts as absent. Raises
        `UserError` if anything is wrong with the record."""
        record = {name: held for name, held in record.items() if held is not None}
        try:
            exercise = self.parse_exercise(record, where)
            _check_exercise(exercise, where)
            return exercise
        except KeyError as error:
            raise UserError(
                f"{where}: the field `{error.args[0]}` is missing for {self.title}. "
                f"The record has the fields: {', '.join(record)}."
            ) from error
        except SyntaxError as error:
            raise UserError(
                f"{where}: the record's tests or its solution are not valid Python 3: {error.msg}."
            ) from error
        except (TypeError, ValueError, AttributeError, IndexError, RecursionError, MemoryError) as error:
            raise UserError(f"{where} is not a record of {self.title}: {error}.") from error

    def mark_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        """Converts a record into an exercise. A broken record becomes an exercise that is marked as `unjudged`, so that
        the other records can still be read."""
        try:
            return self.read_exercise(record, where)
        except UserError as error:
            trouble = str(error).removeprefix(f"{where} is not a record of {self.title}").removeprefix(where)
            unjudged = f"its record is broken: {trouble.lstrip(': ').removesuffix('.')[:_LONGEST_REASON]}"
            nothing = Recipe(ProgramTask("stdin"))
            return Exercise(self.name_record(record, where), "", nothing, unjudged=unjudged)

    def read_exercises(self) -> Iterator[Exercise]:
        """Yields the problems, after applying the settings `evidence`, `public_first` and `max_tests`. If neither the
        record nor its source gives a split, the problem is in train."""
        evidence = read_evidence(user_path(self.evidence)) if self.evidence else {}
        for split, where, record in self.read_raw_records():
            exercise = apply_evidence(self.mark_exercise(record, where), evidence).with_public(self.public_first)
            yield replace(exercise, split=exercise.split or split or "train", hidden=exercise.hidden[: self.max_tests])

    def read_raw_records(self) -> Iterator[RawRecord]:
        """Yields the raw records of the file, the folder or the data set on the hub. Raises `UserError` if `data` is
        not a file, a folder or a hub name."""
        path = user_path(self.data)
        if path.is_file():
            yield from read_split_file(path)
        elif path.is_dir():
            yield from self.read_folder(path)
        elif re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.data):
            check_on_hub(self.data)
            yield from self.read_repository()
        else:
            raise UserError(f"There is no file or folder {self.data}, and a hub name must have the form `org/name`.")

    def read_repository(self) -> Iterator[RawRecord]:
        """Yields the records of every split of a data set on the hub."""
        for split in list_hub_splits(self.data):
            for where, record in load_hub_records(self.data, None, split):
                yield SPLIT_NAMES.get(split), where, record

    def read_folder(self, path: Path) -> Iterator[RawRecord]:
        """Yields the records of all data files in a folder."""
        files = sorted(file for file in path.iterdir() if file.name.endswith(_SUFFIXES))
        if not files:
            raise UserError(f"{path} contains no data file ({', '.join(_SUFFIXES)}).")
        for file in files:
            yield from read_split_file(file)

    @contextmanager
    def open(self, context: Context) -> Generator[Dialogues]:
        """Opens the testbed. Raises `UserError` if data are missing, damaged or empty."""
        with self.open_judge() as judge:
            exercises, notes = self._choose_exercises(judge)
            rows = self._split_rows(exercises)
            yield Dialogues(self.title, rows, part="train", identity={"source": self.data}, notes=notes, judge=judge)

    def _choose_exercises(self, judge: SandboxJudge) -> tuple[list[Exercise], list[str]]:
        """Returns the problems that can be used, and the notes that every report must print. Leaves out problems whose
        statements are too long, problems whose answers cannot be judged, and problems with useless tests (see the
        module `stub`). Raises `UserError` if no problem is left."""
        dropped: dict[str, list[str]] = {}
        kept: list[Exercise] = []
        for exercise in self.read_exercises():
            if self.max_prompt_chars is not None and len(exercise.statement) > self.max_prompt_chars:
                dropped.setdefault(f"the statement has more than {self.max_prompt_chars} characters", []).append(
                    exercise.name
                )
            elif exercise.unjudged and not self._is_one_of_several(exercise):
                dropped.setdefault(exercise.unjudged, []).append(exercise.name)
            else:
                kept.append(exercise)
        untested = find_untested({each.name: list_deciding(each.public, each.hidden) for each in kept}, judge)
        for name, reason in untested.reasons.items():
            dropped.setdefault(reason, []).append(name)
        chosen = [each for each in kept if each.name not in untested.reasons]
        notes = [*self.write_notes(dropped, sum(map(self._is_one_of_several, chosen))), *untested.notes]
        if not chosen:
            raise UserError(f"{self.data}: no problem is left. {' '.join(notes)}")
        return chosen, notes

    def _is_one_of_several(self, exercise: Exercise) -> bool:
        """Checks whether a problem has several right answers but is judged by the one answer in the data (`several:
        keep`)."""
        return self.several == "keep" and exercise.unjudged in (MANY, UNSAID, SHOWN)

    def _split_rows(self, exercises: Sequence[Exercise]) -> dict[Split, list[DialogueRow]]:
        """Returns the rows of each split. The rows are in an order that mixes the difficulty levels, and the examples
        are put before each statement. If the data do not have a split, a fraction of train becomes this split."""
        rows: dict[Split, list[DialogueRow]] = {split: [] for split in SPLITS}
        for exercise in exercises:
            rows[exercise.split or "train"] += self.make_rows(exercise)
        present = {split for split in SPLITS if rows[split]}
        train, rows["train"] = rows["train"], []
        for row in train:
            split = place_split(row.prompt.id, self.validation, self.test)
            rows["train" if split in present else split].append(row)
        for split_rows in rows.values():  # mixes the difficulty levels, by which the data are sorted
            split_rows.sort(key=lambda row: place_key(row.prompt.id, "order"))
        examples = _choose_examples(rows["train"], self.shots)
        return {split: [_prepend_examples(examples, row) for row in rows[split]] for split in SPLITS}

    def make_rows(self, exercise: Exercise) -> Iterator[DialogueRow]:
        """Yields the rows of a problem. Each right program forms a pair with a wrong program, as long as wrong programs
        are left. Further right programs become rows without a wrong program. A problem without right programs becomes
        one row with only the prompt."""
        turns = (Turn("user", exercise.statement),)
        prompt = Problem(exercise.name, turns, exercise.level, exercise.public, exercise.hidden)
        if not exercise.right:
            yield DialogueRow(prompt)
        for number, program in enumerate(exercise.right):
            wrong = Completion(exercise.wrong[number]) if number < len(exercise.wrong) else None
            yield DialogueRow(prompt, Completion(program), wrong)

    def write_notes(self, dropped: Mapping[str, Sequence[str]], kept: int) -> list[str]:
        """Returns the notes that every report on these data must print. `dropped`: maps each reason to the names of the
        problems that were left out for this reason. `kept`: the number of problems that have several right answers and
        were not left out."""
        title = self.title
        notes = [
            f"{title}: {_count_problems(len(names))} left out because {why} ({_list_names(names)})."
            for why, names in sorted(dropped.items(), key=lambda row: -len(row[1]))
        ]
        notes += self.list_caveats()
        if kept:
            notes.append(
                f"{title}: {_count_problems(kept)} kept, although several answers are right. The answer in the data decides."
            )
        if self.public_first:
            notes.append(
                f"{title}: if a problem had no public test, its first {self.public_first} hidden tests became public."
            )
        if self.max_tests:
            notes.append(f"{title}: only the first {self.max_tests} hidden tests of each problem are used.")
        return notes


def _list_names(names: Sequence[str]) -> str:
    return ", ".join([*names[:_NAMED], "..."] if len(names) > _NAMED else names)


def _check_exercise(exercise: Exercise, where: str) -> None:
    """Raises `UserError` if a program is not text, or if the input or output of a test is not text where text is
    required."""
    printed = exercise.recipe.task.mode == "stdin"
    for test in exercise.tests:
        if printed and not (isinstance(test.input, str) and isinstance(test.output, str)):
            raise UserError(
                f"{where}: the input and output of a test must be text, not {test.input!r} and {test.output!r}."
            )
        if isinstance(test.input, str):
            check_text(test.input, f"{where}: the input of a test")
    for program in (*exercise.right, *exercise.wrong):
        if type(program) is not str:  # the value comes from a file and can have any type
            raise UserError(f"{where}: a solution must be text, not {program!r}.")


def _count_problems(count: int) -> str:
    return f"{count} problem" + "s" * (count != 1)


def read_split_file(path: Path) -> Iterator[RawRecord]:
    """Yields the records of a file with their split. A word in the file's name gives the split, such as `test` in
    `LeetCodeDataset-v0.3.1-test.jsonl.gz`."""
    names: list[Split] = [SPLIT_NAMES[word] for word in re.findall("[a-z]+", path.name.lower()) if word in SPLIT_NAMES]
    split: Split | None = names[0] if len(set(names)) == 1 else None
    for where, record in require_records(read_file(path)):
        yield split, where, record


def _choose_examples(rows: Sequence[DialogueRow], count: int) -> dict[str, tuple[Turn, ...]]:
    """Returns the `count` solved problems whose statement and solution together have the fewest characters. The result
    maps a problem id to a dialogue that consists of the statement and the solution. Raises `UserError` if there are
    fewer than `count` solved problems."""
    solved: dict[str, tuple[Turn, ...]] = {}
    for row in reversed(rows):
        if row.answer is not None:
            solved[row.prompt.id] = (*row.prompt.turns, Turn("assistant", row.answer.text))
    if len(solved) < count:
        raise UserError(
            f"`shots` needs {count} solved training problems, but there are only {len(solved)}. Decrease `shots`."
        )
    return dict(sorted(solved.items(), key=lambda item: sum(len(turn.content) for turn in item[1]))[:count])


def _prepend_examples(examples: Mapping[str, Sequence[Turn]], row: DialogueRow) -> DialogueRow:
    """Returns the row with the examples before its statement. A problem is never used as an example for itself."""
    turns = [turn for name, dialogue in examples.items() if name != row.prompt.id for turn in dialogue]
    return replace(row, prompt=replace(row.prompt, turns=(*turns, *row.prompt.turns))) if turns else row
