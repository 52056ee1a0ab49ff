"""Defines `OpenEvaluator`, an opened evaluator with its measures, and `Bench`, which holds the objects that an
evaluation needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from preflab.errors import UserError
from preflab.evaluation.base import Evaluator, Grade, GradedPrompt, Summary
from preflab.evaluation.measure import Measure
from preflab.evaluation.returned import blaming_outside, check_grades, check_summaries
from preflab.evaluation.served import ServedPolicy
from preflab.evaluation.settings import Evaluation
from preflab.models.lm import LanguageModel
from preflab.rewards.base import Reward
from preflab.sampling.base import Sampler
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Prompt, Split

AnyPolicy = LanguageModel | ServedPolicy
"""A policy that is measured: a model in this process, or a model that a server runs."""


@dataclass(frozen=True)
class OpenEvaluator:
    """An evaluator of a study, and the measures that its spec declares. `prefix`: the prefix of these measures' names
    in results."""

    evaluator: Evaluator
    measures: Sequence[Measure]
    prefix: str = ""

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Grades each completion, checks the grades and returns them. Raises `UserError` if an evaluator from outside
        preflab fails, or if the grades do not agree with the measures of the evaluator's spec."""
        source = f"{type(self.evaluator).__name__}.grade"
        averaged = type(self.evaluator).summarise is Evaluator.summarise
        with blaming_outside(self.evaluator, source):
            grades = self.evaluator.grade(split, prompts, completions)
            return check_grades(grades, len(completions), self.measures, source, averaged=averaged)

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Computes the measures of each prompt, checks them and returns them. Raises `UserError` if an evaluator from
        outside preflab fails, or if the measures differ from the measures that the evaluator's spec declares."""
        source = f"{type(self.evaluator).__name__}.summarise"
        with blaming_outside(self.evaluator, source):
            return check_summaries(self.evaluator.summarise(rows, summary), len(rows), self.measures, source)


@dataclass(frozen=True)
class Bench:
    """The opened objects that an evaluation needs. `sampler`: a sampler that only evaluations use; None if the bench
    measures only policies that are served. `seed_for`: a function that derives a seed from its arguments, such as a
    split and an index. `start`: the reference model for KL. `say`: a function that prints a progress line. preflab
    chooses temperatures and checkpoints by the first evaluator's scores. The other evaluators only add measures to the
    results."""

    spec: Evaluation
    testbed: Testbed
    evaluators: Sequence[OpenEvaluator]
    seed_for: Callable[..., int]
    sampler: Sampler | None = None
    start: LanguageModel | None = None
    reward: Reward | None = None
    token_budget: int = 8192
    say: Callable[[str], None] = lambda text: None

    def prompts(self, split: Split, limit: int) -> list[Prompt]:
        """Returns the first `limit` prompts of a split. If `limit` is 0, returns all prompts of the split."""
        prompts = list(self.testbed.prompts(split))
        return prompts[:limit] if limit else prompts


def check_splits(testbed: Testbed, spec: Evaluation, measure: Literal["test", "validation", "none"]) -> None:
    """Raises `UserError` if the testbed lacks the test or validation problems that measuring needs. preflab calls this
    function before any training."""
    name = testbed.name
    chooses = measure == "validation" or len(spec.temperatures) > 1 or spec.validation
    if measure == "test" and not testbed.prompts("test"):
        raise UserError(
            f"{name} has no test problems, but policies are measured on test problems. Add more problems, or a test file."
        )
    if measure != "none" and chooses and not testbed.prompts("validation"):
        raise UserError(
            f"{name} has no validation problems. preflab needs them to choose one of several temperatures, to tune, and "
            "to measure on the validation split. Add validation problems, or make three changes: give a single "
            "temperature, such as `temperatures: [0.2]` under `evaluation` (`--temperatures 0.2`); do not tune; set "
            "`validation` under `evaluation` to false."
        )
