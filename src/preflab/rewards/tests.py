"""The code reward: a program earns `correct` when it passes every test of its problem, else `wrong` (section 6).

The reward holds the tests of *training* problems and the judge, and nothing through which it could reach the tests of
evaluation. A failure of the machine is not a wrong answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from preflab.errors import UserError
from preflab.meter import Meter
from preflab.rewards.base import Reward, RewardSpec
from preflab.sandbox.judging import UNJUDGED, Judge
from preflab.spec import Context
from preflab.testbeds.base import Testbed, require_testbed
from preflab.types import Completion, Problem, Prompt, Test, Verdict


class Tests(RewardSpec):
    """A program gets `correct` (10) if every test passes, else `wrong` (0). With `partial`, its score lies between the two
    by the share of tests passed. `compile_bonus` is added for an answer that compiles. `format_penalty` is taken off for an
    answer that the regular expression `format` does not match as a whole (its dot matches line ends too), or that hit the
    length limit. `unjudged`: the largest share of the answers scored at once on which the judge itself may fail twice. These
    answers get the mean score of the others; beyond that share the run stops."""

    __test__: ClassVar[bool] = False
    kind: Literal["tests"] = "tests"
    correct: float = 10.0
    wrong: float = 0.0
    partial: bool = False
    compile_bonus: Annotated[float, Field(ge=0)] = 0.0
    format: str = ".*"
    format_penalty: Annotated[float, Field(ge=0)] = 0.0
    unjudged: Annotated[float, Field(ge=0, lt=1)] = 0.01

    @field_validator("format")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    @contextmanager
    def open(self, context: Context) -> Generator[TestReward]:
        """Takes the training problems' tests from the open testbed; raises `UserError` if the testbed has no such tests."""
        testbed: Testbed | None = context.testbed
        if testbed is None:
            raise UserError("The reward `tests` needs a testbed: name one.")
        problems = [prompt for prompt in testbed.prompts("train") if isinstance(prompt, Problem)]
        if not problems:
            raise UserError(
                f"The testbed {testbed.name} has no programs to test: its answers are text. Choose a reward that reads "
                "text: learned, function, command or http."
            )
        require_testbed(testbed)
        if self.partial and not testbed.judge.every:
            raise UserError(
                "`partial` pays by the share of tests passed, but this testbed stops at the first that fails: give it "
                "`every: true`."
            )
        tests = {problem.id: (*problem.public_tests, *problem.hidden_tests) for problem in problems}
        yield TestReward(self, tests, testbed.judge, context.meter, testbed.judge.deterministic)


@dataclass(frozen=True)
class TestReward(Reward):
    """The opened reward. `tests`: the tests of the training problems, by prompt id."""

    __test__: ClassVar[bool] = False
    spec: Tests
    tests: Mapping[str, Sequence[Test]]
    run: Judge
    meter: Meter
    deterministic: bool
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Computes `wrong + (correct - wrong) x share + compile_bonus [it compiles] - format_penalty [it has not the
        format]`. The share is 1 if all tests pass and else 0; under `partial` it is the share of the tests passed."""
        verdicts = self.judge(prompts, completions)
        self.meter.labelled(len(verdicts))
        self.outcomes.clear()
        self.outcomes.update(verdict.outcome for verdict in verdicts)
        scores = [
            None if verdict.outcome == UNJUDGED else self._score_verdict(verdict, answer)
            for verdict, answer in zip(verdicts, completions, strict=True)
        ]
        known = [score for score in scores if score is not None]
        mean = sum(known) / max(1, len(known))  # an answer that was not judged is neither right nor wrong
        return [mean if score is None else score for score in scores]

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Verdict]:
        """Returns one verdict for each completion; raises `UserError` for a prompt that is not a training problem, and if
        the judge fails too often."""
        if unknown := [prompt.id for prompt in prompts if prompt.id not in self.tests]:
            raise UserError(
                f"The reward `tests` knows no problem {unknown[0]!r}: it scores training problems only. Measure "
                "others with an evaluator."
            )
        programs = [(answer.text, self.tests[prompt.id]) for prompt, answer in zip(prompts, completions, strict=True)]
        return self.run(programs, problems=[prompt.id for prompt in prompts], most_lost=self.spec.unjudged)

    def _score_verdict(self, verdict: Verdict, answer: Completion) -> float:
        spec = self.spec
        share = fmean(verdict.passed) if spec.partial and verdict.passed else float(verdict.correct)
        formed = not answer.truncated and re.fullmatch(spec.format, answer.text, re.DOTALL)
        bonus = 0.0 if verdict.outcome == "compile-error" else spec.compile_bonus
        return spec.wrong + (spec.correct - spec.wrong) * share + bonus - (0.0 if formed else spec.format_penalty)
