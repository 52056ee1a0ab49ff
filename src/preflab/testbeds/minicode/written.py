"""The testbed `minicode-py`: the problems of minicode, answered in Python and judged in the sandbox.

The statements, tests, splits, wrong demonstrations and pairs are the same as in `minicode`, but the programs are
translated into Python. An answer continues `def f ( x ) :`, and the sandbox runs it as Python. A policy can therefore
write any Python code.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from preflab.sandbox.answer import Recipe
from preflab.sandbox.judging import Judge
from preflab.sandbox.verdict import ProgramTask
from preflab.spec import Context
from preflab.testbeds.code.sandboxed import Sandboxed
from preflab.testbeds.minicode.language import MINICODE_WORDS
from preflab.testbeds.minicode.python import OPENING, PYTHON_WORDS, translate_program
from preflab.testbeds.minicode.testbed import Minicode, OpenMinicode
from preflab.types import Completion, Demonstration, Preference, Problem, Split, Test


class MinicodePy(Sandboxed, Minicode):
    """The problems of minicode, answered in Python and judged by hidden tests in the sandbox.

    This testbed has the settings of `minicode` and the settings of the sandbox.
    """

    kind: Literal["minicode-py"] = "minicode-py"  # type: ignore[assignment]  # replaces the tag of `Minicode`
    time_limit_s: Annotated[float, Field(gt=0)] = 1.0
    memory_limit_mb: Annotated[int, Field(ge=64)] = 128

    @contextmanager
    def open(self, context: Context) -> Generator[OpenMinicodePy]:
        """Opens the testbed. The judge is open as long as the testbed is open."""
        recipe = Recipe(ProgramTask("call", entry_point="f", limits=self.make_limits()), opening=OPENING)
        with self.open_judge() as judge:
            yield OpenMinicodePy(self, context.seed, recipe, judge, self.list_caveats())


class OpenMinicodePy(OpenMinicode):
    name = "minicode-py"

    def __init__(self, spec: Minicode, seed: int, recipe: Recipe, judge: Judge, notes: Sequence[str]) -> None:
        super().__init__(spec, seed)
        self.notes = tuple(notes)
        self._recipe = recipe
        self.judge = judge
        self._known: dict[int, Test] = {}  # converts each test only once: the judge compares tests by object identity

    def prompts(self, split: Split) -> list[Problem]:
        return [self._call_tests(problem) for problem in super().prompts(split)]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        return {name: self._to_calls(tests) for name, tests in super().hidden_tests(split).items()}

    def demonstrations(self, split: Split) -> list[Demonstration]:
        return [replace(each, completion=_to_python(each.completion)) for each in super().demonstrations(split)]

    def preferences(self, split: Split) -> list[Preference]:
        pairs = super().preferences(split)
        return [replace(each, chosen=_to_python(each.chosen), rejected=_to_python(each.rejected)) for each in pairs]

    def words(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*MINICODE_WORDS, *PYTHON_WORDS)))

    def _call_tests(self, problem: Problem) -> Problem:
        public, hidden = self._to_calls(problem.public_tests), self._to_calls(problem.hidden_tests)
        return replace(problem, public_tests=public, hidden_tests=hidden)

    def _to_calls(self, tests: Sequence[Test]) -> tuple[Test, ...]:
        return tuple(self._known.setdefault(id(test), _make_call_test(test, self._recipe)) for test in tests)


def _make_call_test(test: Test, recipe: Recipe) -> Test:
    """Converts a test into a call of the function with the input list as its only argument. Tuples become lists."""
    output = test.output if isinstance(test.output, int) else list(test.output)
    return Test([list(test.input)], output, recipe)


def _to_python(answer: Completion) -> Completion:
    return replace(answer, text=translate_program(answer.text))
