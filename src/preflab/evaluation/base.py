"""What an evaluator is, and what it answers: a grade for each completion, and from these each prompt's measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from preflab.errors import UserError
from preflab.evaluation.measure import REWARD, Measure
from preflab.evaluation.settings import Evaluation
from preflab.spec import Context, HoldsModels
from preflab.types import Completion, Prompt, Split, Verdict

NOTHING_RUN = Verdict("", ())
"""The verdict on an answer that is not a program."""


@dataclass(frozen=True, slots=True)
class Grade:
    """One completion's `score`, its value of the evaluator's first measure; `values`: of the further ones, by name; the judge's
    `verdict` on a program."""

    score: float
    verdict: Verdict = NOTHING_RUN
    values: Mapping[str, float] = field(default_factory=dict[str, float])


class GradedPrompt(NamedTuple):
    """A prompt, its answers, and their grades."""

    prompt: Prompt
    answers: Sequence[Completion]
    grades: Sequence[Grade]


@dataclass(frozen=True)
class Summary:
    """What is to be said of graded prompts: the `measures` that the evaluator's spec declares under these `settings`.
    `seed_for`: seeds by name, for whatever is drawn."""

    measures: Sequence[Measure]
    settings: Evaluation
    seed_for: Callable[..., int]


class Evaluator(ABC):
    """Grades answers."""

    @abstractmethod
    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """One grade a completion, row b answering prompt b."""

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Each prompt's value of every measure: the mean over its answers. An evaluator whose measures are not means of its
        answers' values (pass@k) has a `summarise` of its own."""
        first, *others = [measure.name for measure in summary.measures]
        return [
            {
                first: sum(grade.score for grade in row.grades) / len(row.grades),
                **{name: sum(_value(grade, name) for grade in row.grades) / len(row.grades) for name in others},
            }
            for row in rows
        ]


class EvaluatorSpec(HoldsModels):
    """The settings of an evaluator."""

    belongs: ClassVar[str] = "an evaluator: it belongs under `evaluators:`"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        """What it measures of every prompt, known before it is opened: at least one. By the first one, which has to be
        better when higher, checkpoints and temperatures are chosen."""
        return (REWARD,)

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Evaluator]:
        """The opened evaluator. Raises `UserError` where the testbed lacks what it needs."""


def _value(grade: Grade, name: str) -> float:
    if name not in grade.values:
        raise UserError(
            f"An evaluator declares the measure {name!r}, and a grade has no value of it: put it in `values`."
        )
    return grade.values[name]
