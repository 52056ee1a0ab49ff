"""The reward for code: `correct` if a program passes all tests of its problem, else `wrong` (Xu et al. 2024, Section
6).

The reward uses the testbed's judge and the tests of the *training* problems. The reward has no access to the tests of
the evaluation. If the judge itself fails on an answer, the answer is not scored as wrong.
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
    """A program scores `correct` if it passes every test, else `wrong`. `partial`: if true, the score rises linearly
    from `wrong` to `correct` with the share of passed tests. `compile_bonus`: the number that is added if the answer
    compiles. `format_penalty`: the number that is subtracted if the regular expression `format` does not match the
    whole answer, or if the answer is truncated. In `format`, a dot also matches line ends.

    If the judge itself fails twice on an answer, the answer gets the mean score of the other answers in the same call
    of `score`. `unjudged`: the largest allowed share of such answers in a call. If the share is larger, the run
    stops."""

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
        """Takes the tests of the training problems from the open testbed. Raises `UserError` if the testbed has no
        training problems with tests."""
        testbed: Testbed | None = context.testbed
        if testbed is None:
            raise UserError("The reward `tests` needs a testbed. Name a testbed.")
        problems = [prompt for prompt in testbed.prompts("train") if isinstance(prompt, Problem)]
        if not problems:
            raise UserError(
                f"The answers of the testbed {testbed.name} are texts, not programs: `tests` cannot score them. "
                "Choose a reward that scores texts: learned, function, command or http."
            )
        require_testbed(testbed)
        if self.partial and not testbed.judge.every:
            raise UserError(
                "`partial` needs the share of passed tests, but this testbed stops at the first failed test. Set "
                "`every: true` in the testbed."
            )
        tests = {problem.id: (*problem.public_tests, *problem.hidden_tests) for problem in problems}
        yield TestReward(self, tests, testbed.judge, context.meter, testbed.judge.deterministic)


@dataclass(frozen=True)
class TestReward(Reward):
    """Scores programs by their tests. `tests`: the tests of the training problems, by prompt id. `run`: the testbed's
    judge."""

    __test__: ClassVar[bool] = False
    spec: Tests
    tests: Mapping[str, Sequence[Test]]
    run: Judge
    meter: Meter
    deterministic: bool
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Scores each program: `wrong + (correct - wrong) x share + compile_bonus [if it compiles] - format_penalty [if
        its format is wrong]`. `share` is 1 if all tests pass, else 0; with `partial`, `share` is the share of passed
        tests."""
        verdicts = self.judge(prompts, completions)
        self.meter.labelled(len(verdicts))
        self.outcomes.clear()
        self.outcomes.update(verdict.outcome for verdict in verdicts)
        scores = [
            None if verdict.outcome == UNJUDGED else self._score_verdict(verdict, answer)
            for verdict, answer in zip(verdicts, completions, strict=True)
        ]
        known = [score for score in scores if score is not None]
        mean = sum(known) / max(1, len(known))  # the score of an answer on which the judge failed
        return [mean if score is None else score for score in scores]

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Verdict]:
        """Returns one verdict for each completion. Raises `UserError` if a prompt is not a training problem, or if the
        judge fails too often."""
        if unknown := [prompt.id for prompt in prompts if prompt.id not in self.tests]:
            raise UserError(
                f"The reward `tests` does not know problem {unknown[0]!r}: it scores only training problems. Measure "
                "other problems with an evaluator."
            )
        programs = [(answer.text, self.tests[prompt.id]) for prompt, answer in zip(prompts, completions, strict=True)]
        return self.run(programs, problems=[prompt.id for prompt in prompts], most_lost=self.spec.unjudged)

    def _score_verdict(self, verdict: Verdict, answer: Completion) -> float:
        spec = self.spec
        share = fmean(verdict.passed) if spec.partial and verdict.passed else float(verdict.correct)
        formed = not answer.truncated and re.fullmatch(spec.format, answer.text, re.DOTALL)
        bonus = 0.0 if verdict.outcome == "compile-error" else spec.compile_bonus
        return spec.wrong + (spec.correct - spec.wrong) * share + bonus - (0.0 if formed else spec.format_penalty)
