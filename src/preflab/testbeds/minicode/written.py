"""The testbed `minicode-py`: minicode's problems, answered in Python and judged in the sandbox.

Statements, tests, splits, noise and pairs are minicode's; an answer goes on from `def f ( x ) :`, is run as the Python that it
is, and may do all that a policy finds.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

from preflab.sandbox.judge import Task
from preflab.sandbox.limits import Limits, wall_for
from preflab.spec import Context
from preflab.testbeds.code.exercise import How
from preflab.testbeds.code.judge import ProgramJudge
from preflab.testbeds.minicode.language import WORDS
from preflab.testbeds.minicode.python import OPENING, translated
from preflab.testbeds.minicode.python import WORDS as PYTHON
from preflab.testbeds.minicode.testbed import Minicode, OpenMinicode
from preflab.types import Completion, Demonstration, Preference, Problem, Split, Test

SECONDS = 1.0
HOW = How(
    Task("call", entry_point="f", limits=Limits(cpu_s=SECONDS, wall_s=wall_for(SECONDS), memory_mb=128)),
    opening=OPENING,
)


class MinicodePy(Minicode):
    """As `minicode`. `workers`: programs judged at once, 0: one a core; `backend`: the sandbox."""

    language: ClassVar[str] = "python"
    kind: Literal["minicode-py"] = "minicode-py"  # type: ignore[assignment]  # a tag of its own
    workers: int = 0
    backend: str = "bubblewrap"

    @contextmanager
    def open(self, context: Context) -> Generator[Any]:
        """The testbed, and its judge while it is open."""
        with closing(ProgramJudge(self.workers, self.backend, every=False)) as judge:
            yield OpenMinicodePy(self, context.seed, judge)


class OpenMinicodePy(OpenMinicode):
    """`judge` holds no tests."""

    name = "minicode-py"

    def __init__(self, spec: Minicode, seed: int, judge: ProgramJudge) -> None:
        super().__init__(spec, seed)
        self.judge = judge
        self._known: dict[int, Test] = {}  # a test stays one object, by which verdicts are kept

    def prompts(self, split: Split) -> list[Problem]:
        return [
            replace(found, public_tests=self._called(found.public_tests), hidden_tests=self._called(found.hidden_tests))
            for found in super().prompts(split)
        ]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        return {name: self._called(tests) for name, tests in super().hidden_tests(split).items()}

    def demonstrations(self, split: Split) -> list[Demonstration]:
        return [replace(each, completion=python(each.completion)) for each in super().demonstrations(split)]

    def preferences(self, split: Split) -> list[Preference]:
        return [
            replace(each, chosen=python(each.chosen), rejected=python(each.rejected))
            for each in super().preferences(split)
        ]

    def words(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*WORDS, *PYTHON)))

    def _called(self, tests: Sequence[Test]) -> tuple[Test, ...]:
        return tuple(self._known.setdefault(id(test), call(test)) for test in tests)


def call(test: Test) -> Test:
    """A test as a call: the list is the one argument, and tuples are lists."""
    output = test.output if isinstance(test.output, int) else list(test.output)
    return Test([list(test.input)], output, HOW)


def python(answer: Completion) -> Completion:
    return replace(answer, text=translated(answer.text))
