"""Your own data as JSON lines: prompts, answers, preferences, or problems with tests. `formats` lists the fields."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.compare import OutputComparison
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.sandbox.verdict import ProgramTask
from preflab.spec import Context
from preflab.targets import load_function, where_raised
from preflab.testbeds.base import SPLITS
from preflab.testbeds.code.sandboxed import Sandboxed
from preflab.testbeds.dialogues import DialogueRow, Dialogues
from preflab.testbeds.formats import parse_record
from preflab.testbeds.lines import check_text, read_records
from preflab.testbeds.provenance import make_turn_key, place_split
from preflab.types import Problem, Prompt, Split, Test, Turn, Verdict

_SANDBOX = "sandbox"


class Jsonl(Sandboxed):
    """`data`: a file. `validation`, `test`: files too, or the shares of `data` that are set apart by first user turn.

    A prompt that stands in several files stays in the test file, or else in the validation file. `judge`: `module:function`,
    called as `function(text, input, output)` for each test of a problem, and true when the answer passes the test; or
    `sandbox`, which runs answers as Python programs and compares their output by `compare`, or by the problem's own judge where
    a record has one (`special`: the source of a program). `compare` and the fields of `Sandboxed` are for `sandbox` alone.
    """

    kind: Literal["jsonl"] = "jsonl"
    data: str
    validation: float | str = Field(default=0.1, union_mode="left_to_right")
    test: float | str = Field(default=0.1, union_mode="left_to_right")
    judge: str = ""
    compare: OutputComparison = "lines"
    time_limit_s: Annotated[float, Field(gt=0)] = 10.0
    memory_limit_mb: Annotated[int, Field(ge=64)] = 512

    @model_validator(mode="after")
    def _shares(self) -> Jsonl:
        shares = [share for share in (self.validation, self.test) if isinstance(share, float)]
        if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError("the shares of validation and test must lie between 0 and 1, and leave some for training")
        return self

    @model_validator(mode="after")
    def _for_programs(self) -> Jsonl:
        fields = {"compare", *Sandboxed.model_fields}
        changed = [name for name, value in self if name in fields and value != type(self).model_fields[name].default]
        if changed and self.judge != _SANDBOX:
            raise ValueError(f"`{changed[0]}` is for programs: it needs `judge: sandbox`")
        return self

    @property
    def language(self) -> str:
        return "python" if self.judge == _SANDBOX else ""

    @contextmanager
    def open(self, context: Context) -> Generator[Dialogues]:
        """The opened testbed. Raises `UserError` for missing, damaged, empty or contradictory data."""
        rows, notes = _part_splits(self._read_splits())
        tests = [test for split in SPLITS for row in rows[split] for test in _all_tests(row.prompt)]
        if bool(tests) != bool(self.judge):
            raise UserError(
                f"{self.data}: there are tests, but no `judge` to run them. Name a function: `judge: module:function`."
                if tests
                else f"{self.data}: the judge {self.judge!r} has nothing to run: no record has `tests`."
            )
        if self.judge == _SANDBOX:
            for split in SPLITS:
                rows[split] = [self._add_recipes(row) for row in rows[split]]
            notes += self.list_caveats()
            judging = self.open_judge()
        elif any(test.how for test in tests):
            raise UserError(f"{self.data}: a program in `special` needs `judge: sandbox`.")
        else:
            judging = nullcontext(FunctionJudge(self.judge, load_function(self.judge, "judge")) if self.judge else None)
        files = [str(name) for name in (self.data, self.validation, self.test) if isinstance(name, str)]
        with judging as judge:
            yield Dialogues("jsonl", rows, part="train", identity={"source": files}, notes=notes, judge=judge)

    def _add_recipes(self, row: DialogueRow) -> DialogueRow:
        """Puts a recipe into each test of a problem, in the place of the problem's own judge, which the recipe holds."""
        problem = row.prompt
        if not isinstance(problem, Problem):
            return row
        _check_tests_are_text(problem)
        task = ProgramTask("stdin", limits=self.make_limits(), compare=self.compare)

        def add(tests: tuple[Test, ...]) -> tuple[Test, ...]:
            return tuple(replace(test, how=Recipe(task._replace(special=str(test.how or "")))) for test in tests)

        public, hidden = add(problem.public_tests), add(problem.hidden_tests)
        return replace(row, prompt=replace(problem, public_tests=public, hidden_tests=hidden))

    def _read_splits(self) -> dict[Split, list[DialogueRow]]:
        """The rows of each split, by the files and the shares. What falls into a share depends on the first user turn alone."""
        rows: dict[Split, list[DialogueRow]] = {"train": [], "validation": [], "test": []}
        validation, test = (share if isinstance(share, float) else 0.0 for share in (self.validation, self.test))
        for row in _read_rows(self.data):
            rows[place_split(make_turn_key(row.prompt), validation, test)].append(row)
        if isinstance(self.validation, str):
            rows["validation"] = list(_read_rows(self.validation))
        if isinstance(self.test, str):
            rows["test"] = list(_read_rows(self.test))
        return rows


@dataclass(frozen=True)
class FunctionJudge(Judge):
    """The user's test function and nothing else, so that a reward that holds the judge does not reach the data."""

    target: str
    function: Callable[[str, Any, Any], Any]

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Raises `UserError` when the function itself fails."""
        return [self._judge_answer(text, tests) for text, tests in answers]

    def _judge_answer(self, text: str, tests: Sequence[Test]) -> Verdict:
        if not tests:
            raise UserError(f"The judge {self.target!r} was given no tests for an answer.")
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
    for part in (part for test in _all_tests(problem) for part in (test.input, test.output)):
        if not isinstance(part, str):
            raise UserError(
                f"Problem {problem.id!r}: under `judge: sandbox` a test's `input` and `output` are text, standard input and "
                "what must be printed."
            )
        check_text(part, f"A test of the problem {problem.id!r}")


def _all_tests(prompt: Prompt) -> tuple[Test, ...]:
    return (*prompt.public_tests, *prompt.hidden_tests) if isinstance(prompt, Problem) else ()


def _read_rows(name: str) -> Iterable[DialogueRow]:
    """The rows of a file. Raises `UserError` where an id stands for two prompts."""
    known: dict[str, Prompt] = {}
    for where, record in read_records(Path(name).expanduser()):
        row = parse_record(record, where)
        if known.setdefault(row.prompt.id, row.prompt) != row.prompt:
            raise UserError(f"{where}: the prompt {row.prompt.id!r} stands further up with other text, tests or level.")
        yield row


def _part_splits(rows: dict[Split, list[DialogueRow]]) -> tuple[dict[Split, list[DialogueRow]], list[str]]:
    """Leaves no prompt in two splits: the later split keeps it. Raises `UserError` where a split ends up empty."""
    ids: dict[str, tuple[Turn, ...]] = {}
    notes: list[str] = []
    kept: dict[Split, list[DialogueRow]] = {}
    for split in reversed(SPLITS):
        taken = set(ids.values())
        kept[split] = [row for row in rows[split] if row.prompt.turns not in taken]
        if dropped := len(rows[split]) - len(kept[split]):
            notes.append(f"{dropped} records of {split} dropped because their prompts stand in a later split too.")
        if not kept[split]:
            raise UserError(
                f"The {split} split is empty: {len(rows[split])} records, none of whose prompts the later splits lack. "
                "Give it more data, another file or another share."
            )
        for row in kept[split]:
            if ids.setdefault(row.prompt.id, row.prompt.turns) != row.prompt.turns:
                raise UserError(f"The `id` {row.prompt.id!r} stands for two prompts, one in {split}. Make ids unique.")
    return kept, notes
