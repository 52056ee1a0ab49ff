"""The evaluator for programs: a program scores 1 if it passes every hidden test, otherwise 0. Training uses neither the
hidden tests nor the problems that they belong to."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal

from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade, GradedPrompt, Summary
from preflab.evaluation.measure import Measure, known_measure
from preflab.evaluation.programs import rates
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context
from preflab.testbeds.base import SPLITS, Testbed
from preflab.types import Completion, Prompt, Split, Test


class HiddenTests(EvaluatorSpec):
    """The hidden tests of the testbed judge each answer. No method is trained on the tests of the test problems."""

    kind: Literal["hidden-tests"] = "hidden-tests"
    judges_programs: ClassVar[bool] = True

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return tuple(known_measure(name) for name in evaluation.rates)

    @contextmanager
    def open(self, context: Context) -> Generator[HiddenTestsEvaluator]:
        if context.testbed is None or not context.testbed.tested:
            raise UserError(
                "The evaluator hidden-tests needs hidden tests, but this testbed has no hidden tests. "
                "Choose another evaluator."
            )
        for split in SPLITS[1:]:
            if prompts := context.testbed.prompts(split):
                require_tests(context.testbed, split, prompts)
        yield HiddenTestsEvaluator(context.testbed)


class HiddenTestsEvaluator(Evaluator):
    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Grades programs by the hidden tests of the split. Raises `UserError` if a prompt has no hidden tests."""
        tests = require_tests(self.testbed, split, prompts)
        programs = [(answer.text, tests[prompt.id]) for prompt, answer in zip(prompts, completions, strict=True)]
        verdicts = self.testbed.judge(programs, problems=[prompt.id for prompt in prompts])
        return [Grade(float(verdict.correct), verdict) for verdict in verdicts]

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Returns each problem's pass@k, and its k@n if the settings contain k@n."""
        return rates(summary.settings, self.testbed, rows, summary.seed_for)


def require_tests(testbed: Testbed, split: Split, prompts: Sequence[Prompt]) -> dict[str, Sequence[Test]]:
    """Returns the hidden tests of a split by prompt id. Raises `UserError` if one of the prompts has no hidden tests."""
    tests = testbed.hidden_tests(split)
    missing = [prompt.id for prompt in prompts if not tests.get(prompt.id)]
    if missing:
        raise UserError(
            f"Problem {missing[0]!r} of the {split} split has no hidden tests ({len(missing)} of {len(prompts)} have "
            "none). Add hidden tests, remove the problem, or choose another evaluator."
        )
    return tests
