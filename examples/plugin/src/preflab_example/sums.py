"""The testbed `sums`: questions such as "What is 17 + 25 ?", each with a demonstration, a pair and a test.

Train, validation and test have no pair of summands in common. The judge is an object separate from the testbed, so that a
reward that has the judge cannot reach the data of the evaluation through it.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field

from preflab.sandbox.judging import Judge, TestedAnswers
from preflab.spec import Context
from preflab.testbeds.base import Testbed, TestbedSpec
from preflab.testbeds.provenance import describe_provenance, make_turn_key
from preflab.types import Completion, Demonstration, Preference, Problem, Split, Test, Turn, Verdict

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Sums(TestbedSpec):
    """`largest`: the largest summand. `shares`: the shares of train, validation and test among all sums."""

    evaluator: ClassVar[str | None] = "hidden-tests"
    kind: Literal["sums"] = "sums"
    largest: int = Field(default=49, ge=3, le=99)
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenSums]:
        """Yields the open testbed. The sums and splits do not depend on the seed of `context`."""
        sums = [(a, b) for a in range(self.largest + 1) for b in range(self.largest + 1)]
        random.Random(0).shuffle(sums)
        first, second = (int(len(sums) * share) for share in (self.shares[0], sum(self.shares[:2])))
        yield OpenSums({"train": sums[:first], "validation": sums[first:second], "test": sums[second:]})


class SumsJudge(Judge):
    """Judges that an answer passes if it is the number that its test expects."""

    def judge_once(self, answers: TestedAnswers) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for text, tests in answers:
            passed = tuple(text.strip() == str(test.output) for test in tests)
            detail = {} if all(passed) else {"got": text}
            verdicts.append(Verdict("passed" if all(passed) else "failed", passed, detail))
        return verdicts


class OpenSums(Testbed):
    """The open testbed. Methods that it does not define, such as `rankings`, have defaults in the base class."""

    name = "sums"
    tested = True
    judge = SumsJudge()

    def __init__(self, sums: dict[Split, list[tuple[int, int]]]) -> None:
        self._problems = {split: [problem(*pair) for pair in sums[split]] for split in SPLITS}

    def prompts(self, split: Split) -> list[Problem]:
        """Returns the problems. Only training problems have their tests."""
        problems = self._problems[split]
        return problems if split == "train" else [Problem(item.id, item.turns) for item in problems]

    def demonstrations(self, split: Split) -> list[Demonstration]:
        """Returns each problem with its sum."""
        return [Demonstration(prompt, answer(item)) for prompt, item in self._pairs(split)]

    def preferences(self, split: Split) -> list[Preference]:
        """Returns a pair for each problem: the sum is preferred to the sum plus 1."""
        return [Preference(prompt, answer(item), answer(item, 1)) for prompt, item in self._pairs(split)]

    def hidden_tests(self, split: Split) -> dict[str, Sequence[Test]]:
        """Returns the tests of each problem, for the evaluation alone."""
        return {item.id: item.hidden_tests for item in self._problems[split]}

    def provenance(self) -> dict[str, Any]:
        """Describes the training data, so that preflab can refuse an evaluator that was trained on the same data."""
        keys = [make_turn_key(item) for split in ("train", "validation") for item in self._problems[split]]
        return describe_provenance(self.name, "train", keys)

    def _pairs(self, split: Split) -> list[tuple[Problem, Problem]]:
        return list(zip(self.prompts(split), self._problems[split], strict=True))


def problem(a: int, b: int) -> Problem:
    """Makes the problem "What is a + b ?"."""
    return Problem(f"{a}+{b}", (Turn("user", f"What is {a} + {b} ?"),), hidden_tests=(Test(None, a + b),))


def answer(item: Problem, off: int = 0) -> Completion:
    """Returns the sum plus `off`."""
    return Completion(str(item.hidden_tests[0].output + off))
