"""Defines evaluators. An evaluator gives each completion a grade, and computes each prompt's measures from the grades."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from preflab.errors import UserError
from preflab.evaluation.measure import REWARD, Measure
from preflab.evaluation.relative import RelativeMeasure
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context, HoldsModels
from preflab.types import Completion, Prompt, Split, Verdict

if TYPE_CHECKING:
    from preflab.models.lm import LanguageModel

NOTHING_RUN = Verdict("", ())
"""The verdict on an answer that is not a program. No program was executed."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of one completion. `score`: the completion's value of the evaluator's first measure. `values`: the
    completion's values of the other measures, by name. `verdict`: the judge's verdict, if the completion is a
    program."""

    score: float
    verdict: Verdict = NOTHING_RUN
    values: Mapping[str, float] = field(default_factory=dict[str, float])


class GradedPrompt(NamedTuple):
    """A prompt, its answers, and the grades of the answers."""

    prompt: Prompt
    answers: Sequence[Completion]
    grades: Sequence[Grade]


@dataclass(frozen=True)
class Summary:
    """What an evaluator needs to summarise graded prompts. `measures`: the measures that the evaluator's spec declares under
    these `settings`. `seed_for`: a function from names to a seed for random choices."""

    measures: Sequence[Measure]
    settings: Evaluation
    seed_for: Callable[..., int]


class Evaluator(ABC):
    """Grades answers. The base class of evaluators."""

    @abstractmethod
    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Returns one grade for each completion. `completions[b]` answers `prompts[b]`. preflab refuses grades that do not
        agree with the measures of the spec."""

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Returns every measure for each prompt, averaged over the prompt's answers. An evaluator overrides this method
        if one of its measures is not such a mean, for example pass@k."""
        first, *others = [measure.name for measure in summary.measures]
        return [
            {
                first: sum(grade.score for grade in row.grades) / len(row.grades),
                **{name: sum(_value(grade, name) for grade in row.grades) / len(row.grades) for name in others},
            }
            for row in rows
        ]


class PolicyEvaluator(Evaluator):
    """Measures a policy on the evaluator's own items, such as the questions of a benchmark. Does not grade the policy's
    answers to the testbed's prompts. The spec of a `PolicyEvaluator` has `of_policy = True`. A
    `PolicyEvaluator` is never the first evaluator."""

    @abstractmethod
    def measure_policy(self, policy: LanguageModel) -> Mapping[str, Mapping[str, float]]:
        """Returns a mapping with one entry for each measure of the spec. The key is the measure's name. The value maps
        the name of each item to the measure's value of the item."""

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Raises `UserError`, because this evaluator does not grade answers."""
        raise UserError(
            f"{type(self).__name__} measures a policy on its own items and grades no answers. List it after an "
            "evaluator that grades answers."
        )


class EvaluatorSpec(HoldsModels):
    """The settings of an evaluator. `of_policy`: whether the evaluator is a `PolicyEvaluator`. `judges_programs`:
    whether each answer is judged as a program; `--plan` then counts the time for this. `uncounted`: work whose time
    `--plan` cannot estimate; '' for none."""

    belongs: ClassVar[str] = "an evaluator: it belongs under `evaluators:`"
    of_policy: ClassVar[bool] = False
    judges_programs: ClassVar[bool] = False
    uncounted: ClassVar[str] = ""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        """Returns the measures that the evaluator computes for every prompt, at least one. preflab chooses checkpoints
        and temperatures by the first measure, so a higher value of the first measure must be better."""
        return (REWARD,)

    @property
    def relative(self) -> tuple[RelativeMeasure, ...]:
        """The measures that a study's report computes relative to a reference arm, from the evaluator's other measures."""
        return ()

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Evaluator]:
        """Opens the evaluator. Raises `UserError` if the testbed lacks data that the evaluator needs."""


def _value(grade: Grade, name: str) -> float:
    if name not in grade.values:
        raise UserError(
            f"An evaluator declares the measure {name!r}, but a grade has no value for it. Put the value into the "
            "grade's `values`."
        )
    return grade.values[name]
