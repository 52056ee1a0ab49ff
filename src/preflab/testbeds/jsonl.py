"""Opens the user's own prompts, answers, preferences, or problems with tests, in any format that preflab can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from preflab.data.files import read_source
from preflab.data.lines import check_text
from preflab.data.reading import FileReading, check_names
from preflab.data.row import DialogueRow
from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.compare import OutputComparison
from preflab.sandbox.judging import Judge, SandboxJudge, TestedAnswers
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask
from preflab.spec import Context
from preflab.targets import load_function, where_raised
from preflab.testbeds.base import SPLITS
from preflab.testbeds.code.known import read_problem
from preflab.testbeds.code.own_tests import call_tests, describe_untested, explain_own_tests
from preflab.testbeds.code.sandboxed import Sandboxed
from preflab.testbeds.code.stub import find_untested, list_deciding
from preflab.testbeds.dialogues import Dialogues
from preflab.testbeds.provenance import make_turn_key, place_key, place_split
from preflab.types import Problem, Prompt, Split, Test, Turn, Verdict
from preflab.work import report_each

NO_LIMITS = Limits()
"""A placeholder: the user's own tests have these limits when they are read. `Jsonl` then replaces these limits by the
limits in its settings."""
_SANDBOX = "sandbox"


class Jsonl(Sandboxed):
    """The user's own data: prompts, answers, preferences, or problems with tests.

    `data`: a file, a folder or a hub name. `validation`, `test`: another file, folder or hub name, or a fraction of
    `data`. A fraction is split off by the first user turn: dialogues with the same first user turn go into the same
    split. `split`: the split to read if a source has several splits. A split in the source's name (`org/name#test`)
    takes precedence. `rows`: the largest number of records that are read from each source. `fields`: maps preflab's
    field names to the field names in your records.

    A prompt that occurs in several splits is kept in only one of them: in `test` if it occurs there, otherwise in
    `validation`. `evaluator_share`: the fraction of first user turns that is reserved for training an evaluator.
    `part`: the dialogues for training and validation. `all` uses all dialogues, `policy` uses only dialogues that are
    not reserved, and `evaluator` uses only reserved dialogues.

    `ordered_by`: the value `safety` declares that the better answer of every pair is the safer answer. A cost model
    needs this declaration if a pair has two safe answers or two unsafe answers.

    `judge`: `module:function`, or `sandbox`. The function is called as `function(text, input, output)` for each test of
    a problem, and must return true if the answer passes the test. The sandbox runs answers as Python programs and
    compares their output by the method `compare`. If a record has the field `special` (the source of a judge program),
    the judge program replaces this comparison. Set `compare` and the settings of `Sandboxed` only if `judge` is
    `sandbox`.
    """

    kind: Literal["jsonl"] = "jsonl"
    data: str
    validation: float | str = Field(default=0.1, union_mode="left_to_right")
    test: float | str = Field(default=0.1, union_mode="left_to_right")
    split: str = ""
    rows: Annotated[int, Field(ge=1)] | None = None
    fields: Annotated[dict[str, str | None], AfterValidator(check_names)] = {}
    part: Literal["all", "policy", "evaluator"] = "all"
    evaluator_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    ordered_by: Literal["", "safety"] = ""
    judge: str = ""
    compare: OutputComparison = "lines"
    time_limit_s: Annotated[float, Field(gt=0)] = 10.0
    memory_limit_mb: Annotated[int, Field(ge=64)] = 512

    @model_validator(mode="after")
    def _shares(self) -> Jsonl:
        shares = [share for share in (self.validation, self.test) if isinstance(share, float)]
        if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError(
                "the shares `validation` and `test` must lie between 0 and 1, and must leave data for training"
            )
        return self

    @model_validator(mode="after")
    def _for_programs(self) -> Jsonl:
        fields = {"compare", *Sandboxed.model_fields}
        changed = [name for name, value in self if name in fields and value != type(self).model_fields[name].default]
        if changed and self.judge != _SANDBOX:
            raise ValueError(f"`{changed[0]}` is a setting for programs and needs `judge: sandbox`")
        return self

    @property
    def language(self) -> str:
        return "python" if self.judge == _SANDBOX else ""

    def locate(self, prompt: Prompt) -> str:
        """Reads the sources again, and returns the file and line of a prompt."""
        for source in (self.data, self.validation, self.test):
            if isinstance(source, str):
                for where, row in self._reading().read_rows(read_source(source, split=self.split, rows=self.rows)):
                    if row.prompt.id == prompt.id:
                        return where
        return super().locate(prompt)

    @contextmanager
    def open(self, context: Context) -> Generator[Dialogues]:
        """Opens the testbed. Raises `UserError` if data are missing, damaged, empty or contradictory."""
        rows, notes = self._read_splits()
        rows, more = self._make_disjoint(rows)
        notes += more
        tests = [test for split in SPLITS for row in rows[split] for test in _all_tests(row.prompt)]
        if self.judge and not tests:
            raise UserError(f"{self.data}: the judge {self.judge!r} has nothing to run, because no record has `tests`.")
        untested: dict[str, str] = {}
        if self.judge == _SANDBOX:
            prompts = {row.prompt.id: row.prompt for split in SPLITS for row in rows[split]}
            untested = {name: why for name, prompt in prompts.items() if (why := explain_own_tests(_all_tests(prompt)))}
            for split in SPLITS:
                rows[split] = [self._complete_recipes(row) for row in rows[split]]
            notes += self.list_caveats()
            judging = self.open_judge()
        elif any(isinstance(test.how, Recipe) and test.how.task.special for test in tests):
            raise UserError(f"{self.data}: a judge program in the field `special` needs the setting `judge: sandbox`.")
        else:
            judging = nullcontext(FunctionJudge(self.judge, load_function(self.judge, "judge")) if self.judge else None)
        files = [str(name) for name in (self.data, self.validation, self.test) if isinstance(name, str)]
        part = "train" if self.part == "all" else self.part
        with judging as judge:
            if isinstance(judge, SandboxJudge):
                problems = [row.prompt for split in SPLITS for row in rows[split] if isinstance(row.prompt, Problem)]
                deciding = {each.id: list_deciding(each.public_tests, each.hidden_tests) for each in problems}
                findings = find_untested({name: deciding[name] for name in deciding if name not in untested}, judge)
                rows, more = self._drop_untested(rows, untested | findings.reasons)
                notes += [*findings.notes, *more]
            opened = Dialogues("jsonl", rows, part=part, identity={"source": files}, notes=notes, judge=judge)
            opened.ordered_by = self.ordered_by
            yield opened

    def _complete_recipes(self, row: DialogueRow) -> DialogueRow:
        """Completes the user's own tests of the problem in `row`. Each of these tests gets the limits and the output
        comparison that this testbed's settings prescribe. Tests that are code also get missing calls (see
        `call_tests`)."""
        problem = row.prompt
        if not isinstance(problem, Problem):
            return row
        limits = self.make_limits()

        def complete(tests: tuple[Test, ...]) -> tuple[Test, ...]:
            recipes = [test.how or Recipe(ProgramTask("stdin")) for test in tests]
            own = [recipe.task.limits == NO_LIMITS for recipe in recipes]
            tasks = [recipe.task._replace(limits=limits, compare=self.compare) for recipe in recipes]
            completed = [recipe._replace(task=task) for recipe, task in zip(recipes, tasks, strict=True)]
            called = [call_tests(test) for test in tests]
            return tuple(replace(called[n], how=completed[n]) if own[n] else test for n, test in enumerate(tests))

        public, hidden = complete(problem.public_tests), complete(problem.hidden_tests)
        problem = replace(problem, public_tests=public, hidden_tests=hidden)
        try:
            _check_tests_are_text(problem)
        except UserError as error:
            raise UserError(f"{self.locate(problem)}: {error}") from error
        return replace(row, prompt=problem)

    def _drop_untested(
        self, rows: dict[Split, list[DialogueRow]], reasons: Mapping[str, str]
    ) -> tuple[dict[Split, list[DialogueRow]], list[str]]:
        """Removes the problems whose ids are in `reasons`. Returns the rows that are left, and notes that count and
        name the removed problems. Raises `UserError` if a split has no problems left."""
        if not reasons:
            return rows, []
        places = self._find_places(reasons)
        notes = describe_untested(reasons, places)
        kept: dict[Split, list[DialogueRow]] = {
            split: [row for row in rows[split] if row.prompt.id not in reasons] for split in SPLITS
        }
        for split in SPLITS:
            if not kept[split]:
                raise UserError(
                    f"{self.data}: all problems of the {split} split were left out. {' '.join(notes)} "
                    "Repair the tests of these problems."
                )
        return kept, notes

    def _find_places(self, names: Mapping[str, str]) -> dict[str, str]:
        """Reads the sources again, and returns the file and line of each prompt whose id is in `names`."""
        sources = [source for source in (self.data, self.validation, self.test) if isinstance(source, str)]
        places: dict[str, str] = {}
        for source in sources:
            for where, row in self._reading().read_rows(read_source(source, split=self.split, rows=self.rows)):
                if row.prompt.id in names:
                    places.setdefault(row.prompt.id, where)
        return places

    def _read_splits(self) -> tuple[dict[Split, list[DialogueRow]], list[str]]:
        """Returns the rows of each split, and notes on how the records were read. If a split is a share of `data`, the
        first user turn alone decides whether a row is in this split. The first user turn alone also decides whether a
        row is reserved for the evaluator."""
        rows: dict[Split, list[DialogueRow]] = {"train": [], "validation": [], "test": []}
        notes: list[str] = []
        validation, test = (share if isinstance(share, float) else 0.0 for share in (self.validation, self.test))
        for row in self._read_rows(self.data, notes):
            rows[place_split(make_turn_key(row.prompt), validation, test)].append(row)
        if isinstance(self.validation, str):
            rows["validation"] = list(self._read_rows(self.validation, notes))
        if isinstance(self.test, str):
            rows["test"] = list(self._read_rows(self.test, notes))
        for split in ("train", "validation"):
            rows[split] = [row for row in rows[split] if self._is_in_part(row.prompt)]
        return rows, list(dict.fromkeys(notes))

    def _make_disjoint(self, rows: dict[Split, list[DialogueRow]]) -> tuple[dict[Split, list[DialogueRow]], list[str]]:
        """Makes the splits disjoint. If a prompt occurs in several splits, its rows stay in only one of them: in test
        if the prompt occurs there, otherwise in validation. Returns the remaining rows of each split, and notes that
        count the dropped records. Raises `UserError` if a split has no rows left, or if two different prompts have the
        same id."""
        ids: dict[str, tuple[Turn, ...]] = {}
        notes: list[str] = []
        kept: dict[Split, list[DialogueRow]] = {}
        for split in reversed(SPLITS):
            taken = set(ids.values())
            kept[split] = [row for row in rows[split] if row.prompt.turns not in taken]
            if dropped := len(rows[split]) - len(kept[split]):
                notes.append(f"{dropped} records of {split} dropped because a later split has the same prompts.")
            if not kept[split]:
                raise UserError(self._explain_empty(split, dropped))
            for row in kept[split]:
                if ids.setdefault(row.prompt.id, row.prompt.turns) != row.prompt.turns:
                    raise UserError(
                        f"Two different prompts have the `id` {row.prompt.id!r}, one of them in {split}. "
                        "Give each prompt a different id."
                    )
        return kept, notes

    def _explain_empty(self, split: Split, dropped: int) -> str:
        """Returns the error message about an empty split. The message names the source of the split, explains why the
        split is empty, and suggests what to do. `dropped`: the number of the split's records that were dropped because
        a later split has the same prompts."""
        source = self.data if split == "train" else {"validation": self.validation, "test": self.test}[split]
        share = source if isinstance(source, float) else None
        reason = f"all its {dropped} records have prompts of a later split" if dropped else "no record falls into it"
        advice = "Add records" if share is None else f"Add records, increase its share (`{split}: {share:g}`)"
        another = "name another file" if share is None else f"name a file for this split (`{split}: FILE`)"
        file = source if share is None else self.data
        return f"{file}: the {split} split is empty: {reason}. {advice}, or {another}."

    def _is_in_part(self, prompt: Prompt) -> bool:
        """Checks whether the setting `part` selects the prompt for training and validation."""
        kept_for_evaluator = place_key(make_turn_key(prompt), "evaluator") < self.evaluator_share
        return self.part == "all" or kept_for_evaluator == (self.part == "evaluator")

    def _reading(self) -> FileReading:
        settings = {"time_limit_s": self.time_limit_s, "memory_limit_mb": self.memory_limit_mb}
        tested = bool(self.judge)
        return FileReading(self.fields, partial(read_problem, settings, tested), tested=tested)

    def _read_rows(self, source: str, notes: list[str]) -> Iterator[DialogueRow]:
        """Yields the rows of a source. Adds sentences to `notes` that describe how the records were read. Raises
        `UserError` if two different prompts have the same id. Also raises `UserError` if the source has no answers, and
        its tests cannot be used because no judge runs them."""
        reading = self._reading()
        answered = False
        known: dict[str, Prompt] = {}
        for where, row in reading.read_rows(read_source(source, split=self.split, rows=self.rows)):
            prompt = row.prompt
            if known.setdefault(prompt.id, prompt) != prompt:
                raise UserError(
                    f"{where}: the prompt {prompt.id!r} also occurs in an earlier record, with other text, tests or level."
                )
            answered = answered or row.answer is not None or row.rejected is not None
            yield row
        if reading.untried and not answered:
            raise UserError(
                f"{source}: there are tests, but no `judge` to run them. Name a function: `judge: module:function`."
            )
        notes += reading.write_notes()


@dataclass(frozen=True)
class FunctionJudge(Judge):
    """Judges answers with the user's test function. The judge stores only this function and the function's name, so
    that a reward cannot read the data through the judge."""

    target: str
    function: Callable[[str, Any, Any], Any]

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Returns the verdict on each answer. Raises `UserError` if the user's function raises an exception, or if an
        answer has no tests."""
        return [self._judge_answer(*answer) for answer in report_each("answers judged", answers, len(answers))]

    def _judge_answer(self, text: str, tests: Sequence[Test]) -> Verdict:
        if not tests:
            raise UserError(
                f"The judge {self.target!r} was given no tests for an answer. Either the problem has no tests, or its tests "
                "are hidden tests, which only an evaluation can use."
            )
        try:
            passed = tuple(bool(self.function(text, test.input, test.output)) for test in tests)
        except Exception as error:
            raise UserError(
                f"The judge {self.target!r} failed at {where_raised(error)}: {type(error).__name__}: {error}"
            ) from error
        if all(passed):
            return Verdict("passed", passed)
        failing = tests[passed.index(False)]
        return Verdict("failed", passed, {"input": failing.input, "expected": failing.output})


def _check_tests_are_text(problem: Problem) -> None:
    """Raises `UserError` if the program reads standard input, but a test has an input or output that is not text."""
    for test in _all_tests(problem):
        for part in (test.input, test.output):
            if isinstance(part, str):
                check_text(part, f"a test of the problem {problem.id!r}")
            elif test.how.task.mode == "stdin":
                raise UserError(
                    f"with `judge: sandbox`, the `input` of a test (standard input) and its `output` (the text to print) must "
                    f"be text. A test of the problem {problem.id!r} contains {json.dumps(part, default=str)[:60]}."
                )


def _all_tests(prompt: Prompt) -> tuple[Test, ...]:
    return (*prompt.public_tests, *prompt.hidden_tests) if isinstance(prompt, Problem) else ()
