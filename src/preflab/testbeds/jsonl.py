"""Your own data as JSON lines: prompts, answers, preferences, or problems with tests. `formats` lists the fields."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
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
from preflab.testbeds.base import SPLITS, NoJudge
from preflab.testbeds.code.sandboxed import Sandboxed
from preflab.testbeds.dialogues import DialogueRow, Dialogues
from preflab.testbeds.formats import parse_record
from preflab.testbeds.lines import check_text, read_records
from preflab.testbeds.provenance import make_turn_key, place_key
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
        tested = any(isinstance(row.prompt, Problem) for split in SPLITS for row in rows[split])
        if tested != bool(self.judge):
            raise UserError(
                f"{self.data}: there are tests, but no `judge` to run them. Name a function: `judge: module:function`."
                if tested
                else f"{self.data}: the judge {self.judge!r} has nothing to run: no record has `tests`."
            )
        if self.judge != _SANDBOX and any(
            test.how for split in SPLITS for row in rows[split] for test in _all_tests(row.prompt)
        ):
            raise UserError(f"{self.data}: a program in `special` needs `judge: sandbox`.")
        files = [str(name) for name in (self.data, self.validation, self.test) if isinstance(name, str)]
        caveats = self.list_caveats() if self.judge == _SANDBOX else []
        with self._open_judge(rows) as judge:
            yield Dialogues(
                "jsonl", rows, part="train", identity={"source": files}, notes=[*notes, *caveats], judge=judge
            )

    @contextmanager
    def _open_judge(self, rows: dict[Split, list[DialogueRow]]) -> Generator[Judge]:
        if self.judge == _SANDBOX:
            _check_tests_are_text(rows)
            self._add_recipes(rows)
            with self.open_judge() as judge:
                yield judge
        elif self.judge:
            yield FunctionJudge(self.judge, load_function(self.judge, "judge"))
        else:
            yield NoJudge()

    def _add_recipes(self, rows: dict[Split, list[DialogueRow]]) -> None:
        """Puts a recipe into each test, in the place of the problem's own judge, which the recipe holds."""
        task = ProgramTask("stdin", limits=self.make_limits(), compare=self.compare)

        def add(tests: tuple[Test, ...]) -> tuple[Test, ...]:
            return tuple(replace(test, how=Recipe(task._replace(special=str(test.how or "")))) for test in tests)

        def add_to(row: DialogueRow) -> DialogueRow:
            prompt = row.prompt
            if not isinstance(prompt, Problem):
                return row
            public, hidden = add(prompt.public_tests), add(prompt.hidden_tests)
            return replace(row, prompt=replace(prompt, public_tests=public, hidden_tests=hidden))

        for split in SPLITS:
            rows[split] = [add_to(row) for row in rows[split]]

    def _read_splits(self) -> dict[Split, list[DialogueRow]]:
        """The rows of each split, by the files and the shares. What falls into a share depends on the first user turn alone."""
        rows: dict[Split, list[DialogueRow]] = {"train": [], "validation": [], "test": []}
        for row in _read_rows(self.data):
            at = place_key(make_turn_key(row.prompt), "part")
            test = self.test if isinstance(self.test, float) else 0.0
            validation = self.validation if isinstance(self.validation, float) else 0.0
            rows["test" if at < test else "validation" if at < test + validation else "train"].append(row)
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

    def _judge_answer(self, text: str, tests: Iterable[Test]) -> Verdict:
        tests = list(tests)
        try:
            passed = tuple(bool(self.function(text, test.input, test.output)) for test in tests)
        except Exception as error:
            raise UserError(
                f"The judge {self.target!r} failed at {where_raised(error)}: {type(error).__name__}: {error}"
            ) from error
        if not tests:
            raise UserError(f"The judge {self.target!r} was given no tests for an answer.")
        failing = next((test for test, good in zip(tests, passed, strict=True) if not good), None)
        if failing is None:
            return Verdict("passed", passed)
        return Verdict("failed", passed, {"input": failing.input, "expected": failing.output})


def _check_tests_are_text(rows: Mapping[Split, Sequence[DialogueRow]]) -> None:
    for problem in (row.prompt for split in SPLITS for row in rows[split] if isinstance(row.prompt, Problem)):
        parts = [part for test in _all_tests(problem) for part in (test.input, test.output)]
        for part in parts:
            if isinstance(part, str):
                check_text(part, f"A test of the problem {problem.id!r}")
        if not all(isinstance(part, str) for part in parts):
            raise UserError(
                f"Problem {problem.id!r}: under `judge: sandbox` a test's `input` and `output` are text, standard input and "
                "what must be printed."
            )


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
    taken: set[tuple[Turn, ...]] = set()
    ids: dict[str, tuple[Turn, ...]] = {}
    notes: list[str] = []
    kept: dict[Split, list[DialogueRow]] = {}
    for split in reversed(SPLITS):
        kept[split] = [row for row in rows[split] if row.prompt.turns not in taken]
        if dropped := len(rows[split]) - len(kept[split]):
            notes.append(f"{dropped} records of {split} dropped because their prompts stand in a later split too.")
        if not kept[split]:
            raise UserError(
                f"The {split} split is empty: {len(rows[split])} records, none of whose prompts the later splits lack. "
                "Give it more data, another file or another share."
            )
        taken |= {row.prompt.turns for row in kept[split]}
        for row in kept[split]:
            if ids.setdefault(row.prompt.id, row.prompt.turns) != row.prompt.turns:
                raise UserError(f"The `id` {row.prompt.id!r} stands for two prompts, one in {split}. Make ids unique.")
    return kept, notes
