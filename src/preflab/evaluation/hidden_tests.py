"""The evaluator of programs: 1 where every hidden test passes, else 0. Tests and problems that no training ever saw."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade, GradedPrompt, Summary
from preflab.evaluation.measure import Measure, known_measure
from preflab.evaluation.programs import rates
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Prompt, Split


class HiddenTests(EvaluatorSpec):
    kind: Literal["hidden-tests"] = "hidden-tests"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return tuple(known_measure(name) for name in evaluation.rates)

    @contextmanager
    def open(self, context: Context) -> Generator[HiddenTestsEvaluator]:
        if context.testbed is None or not context.testbed.tested:
            raise UserError("The evaluator hidden-tests needs a testbed with programs; this one has no hidden tests.")
        yield HiddenTestsEvaluator(context.testbed)


class HiddenTestsEvaluator(Evaluator):
    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Raises `UserError` where a prompt has no hidden tests in the split."""
        tests = self.testbed.hidden_tests(split)
        missing = [prompt.id for prompt in prompts if prompt.id not in tests]
        if missing:
            raise UserError(f"Problem {missing[0]!r} has no hidden tests in the split {split!r}.")
        programs = [(answer.text, tests[prompt.id]) for prompt, answer in zip(prompts, completions, strict=True)]
        verdicts = self.testbed.judge(programs, problems=[prompt.id for prompt in prompts])
        return [Grade(float(verdict.correct), verdict) for verdict in verdicts]

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """pass@k, and k@n where the settings ask for it."""
        return rates(summary.settings, self.testbed, rows, summary.seed_for)
