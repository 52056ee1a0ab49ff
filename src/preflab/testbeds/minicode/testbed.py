"""The testbed `minicode`: small programs from short statements, judged by hidden tests. See docs/minicode.md.

The problems depend only on the spec. The seed in the `Context` decides which demonstrations are wrong, the wording of
right programs, and the pairs. All seeds of a study therefore use the same problems.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from preflab.errors import MissingRecords, UserError
from preflab.fields import Share
from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context
from preflab.testbeds.base import Testbed, TestbedSpec
from preflab.testbeds.minicode import corpus, language
from preflab.testbeds.minicode.problems import MinicodeTask, make_tasks
from preflab.types import Demonstration, Preference, Problem, Split, Test, Verdict
from preflab.work import report_each

_HeldSize = Annotated[int, Field(ge=1, le=1500)]


class Minicode(TestbedSpec):
    """Small programs on lists of integers, written from short statements and judged by hidden tests.

    The settings are the sizes of the splits, the share of wrong demonstrations, and the wording of statements. See
    docs/minicode.md.
    """

    evaluator: ClassVar[str | None] = "hidden-tests"
    kind: Literal["minicode"] = "minicode"
    seed: int = 0
    # The size of train is limited: a third of its problems have target programs of two steps, and train has only 2,785
    # different behaviours of such programs.
    train: Annotated[int, Field(ge=1, le=6000)] = 3000
    validation: _HeldSize = 200
    test: _HeldSize = 300
    wrong_share: Share = 0.37
    vague_share: Share = 0.25
    inverted_share: Share = 0.1

    @contextmanager
    def open(self, context: Context) -> Generator[OpenMinicode]:
        """Opens the testbed. `context.seed` is the seed for wrong demonstrations, wordings and pairs. Problems are made
        when they are first used."""
        yield OpenMinicode(self, context.seed)


class MinicodeJudge(Judge):
    """Judges answers with minicode's own interpreter. A verdict depends only on the text of the answer and on the
    tests."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        """Returns the verdict on each answer. Raises `UserError` if an answer has no tests."""
        return [judge_minicode(text, tests) for text, tests in report_each("programs judged", answers, len(answers))]


class OpenMinicode(Testbed):
    """The opened testbed `minicode`. Each split is generated when it is first used, and is then kept in memory."""

    name = "minicode"
    tested = True
    judge = MinicodeJudge()

    def __init__(self, spec: Minicode, seed: int) -> None:
        self._spec = spec
        self._seed = seed

    def prompts(self, split: Split) -> list[Problem]:
        """Returns the problems of a split. In `train`, a problem has all its tests. In `validation` and `test`, it has
        only its public tests."""
        problems = [task.problem for task in self._tasks(split)]
        return problems if split == "train" else [replace(problem, hidden_tests=()) for problem in problems]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Returns a mapping from problem id to the hidden tests of the problem."""
        return {task.problem.id: task.problem.hidden_tests for task in self._tasks(split)}

    def demonstrations(self, split: Split) -> list[Demonstration]:
        """Returns one program for each problem. Some of these programs are wrong; `wrong_share` is the fraction of
        wrong programs. Raises `MissingRecords` for `test`."""
        answers = corpus.write_demonstrations(self._trainable(split), self._spec.wrong_share, self._seed, split)
        return [Demonstration(problem, answer) for problem, answer in zip(self.prompts(split), answers, strict=True)]

    def preferences(self, split: Split) -> list[Preference]:
        """Returns one pair for each problem. The chosen answer is a right program, and the rejected answer is a wrong
        program. Raises `MissingRecords` for `test`."""
        pairs = corpus.write_pairs(self._trainable(split), self._seed, split)
        return [Preference(problem, *pair) for problem, pair in zip(self.prompts(split), pairs, strict=True)]

    def words(self) -> tuple[str, ...]:
        """Returns every word that can occur in statements and programs. A model that is made for this testbed has one
        token for each word."""
        return language.MINICODE_WORDS

    def _tasks(self, split: Split) -> tuple[MinicodeTask, ...]:
        spec = self._spec
        count = {"train": spec.train, "validation": spec.validation, "test": spec.test}[split]
        return make_tasks(spec.seed, split, count, spec.vague_share, spec.inverted_share)

    def _trainable(self, split: Split) -> tuple[MinicodeTask, ...]:
        if split == "test":
            raise MissingRecords(
                "minicode has no answers in its test split, because no method may train on test data. Use the split train "
                "or validation."
            )
        return self._tasks(split)


def judge_minicode(text: str, tests: Sequence[Test]) -> Verdict:
    """Returns the verdict on the text of a program. The outcome is `passed`, or the outcome of the first test that
    fails.

    `compile-error`: the text is not a valid program. `runtime-error`: the program fails on the input. `failed`: the
    program's output differs from the expected output.
    """
    if not tests:
        raise UserError(
            "A program cannot be judged without tests. The problems of the splits validation and test have no hidden tests, "
            "except in an evaluation."
        )
    try:
        program = language.compile_program(text)
    except language.CompileError as error:
        return Verdict("compile-error", (False,) * len(tests), {"error": str(error)})
    results = [_judge_test(program, test) for test in tests]
    outcome, detail = next((result for result in results if result[0] != "passed"), ("passed", {}))
    return Verdict(outcome, tuple(outcome == "passed" for outcome, _ in results), detail)


def _judge_test(program: Sequence[language.MinicodeStep], test: Test) -> tuple[str, dict[str, Any]]:
    expected = _to_value(test.output)
    detail = {"input": test.input, "expected": expected}
    try:
        got = language.run_program(program, _to_value(test.input))
    except language.RuntimeFault as fault:
        return "runtime-error", {**detail, "error": str(fault)}
    return ("passed", {}) if got == expected else ("failed", {**detail, "got": got})


def _to_value(data: Any) -> language.MinicodeValue:
    """Returns the input or output of a test as a minicode value. A list, which comes from JSON, becomes a tuple."""
    return data if isinstance(data, int) else tuple(data)
