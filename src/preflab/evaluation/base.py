"""Defines the base classes of evaluators. An evaluator grades each completion and computes each prompt's measures from the
grades."""

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
"""The verdict of an answer for which no program was executed, because the answer is not judged as a program."""


@dataclass(frozen=True, slots=True)
class Grade:
    """The grade of one completion. `score`: the value of the evaluator's first measure for this completion. `values`: a
    mapping from the name of each other measure to its value for this completion. `verdict`: the judge's verdict if the
    completion is a program, otherwise `NOTHING_RUN`."""

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
    """What an evaluator needs to know to summarise graded prompts. `measures`: the measures that the evaluator's spec
    declares. `settings`: the settings for measuring policies; `measures` depends on these settings. `seed_for`: a
    function that derives the seed of a random choice from its arguments, such as a name and a prompt's id."""

    measures: Sequence[Measure]
    settings: Evaluation
    seed_for: Callable[..., int]


class Evaluator(ABC):
    """The base class of evaluators. An evaluator grades answers."""

    @abstractmethod
    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Returns one grade for each completion. `completions[b]` answers `prompts[b]`. preflab refuses grades that do not
        agree with the measures of the spec."""

    def summarise(self, rows: Sequence[GradedPrompt], summary: Summary) -> list[dict[str, float]]:
        """Returns one mapping for each prompt. It maps each measure's name to the mean of the measure over the prompt's
        answers. An evaluator must override this method if one of its measures is not a mean over answers, for example
        pass@k."""
        first, *others = [measure.name for measure in summary.measures]
        return [
            {
                first: sum(grade.score for grade in row.grades) / len(row.grades),
                **{name: sum(_value(grade, name) for grade in row.grades) / len(row.grades) for name in others},
            }
            for row in rows
        ]


class PolicyEvaluator(Evaluator):
    """The base class of evaluators that measure a policy on their own items, such as the questions of a benchmark. Such
    an evaluator does not grade the policy's answers to the testbed's prompts. The spec of a `PolicyEvaluator` sets
    `of_policy = True`. A `PolicyEvaluator` cannot be the first evaluator of a study."""

    @abstractmethod
    def measure_policy(self, policy: LanguageModel) -> Mapping[str, Mapping[str, float]]:
        """Returns a mapping with one entry for each measure of the spec. The key is the measure's name. The value is a
        mapping from the name of each item to the measured number for this item."""

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        """Raises `UserError`, because this evaluator does not grade answers."""
        raise UserError(
            f"{type(self).__name__} measures a policy on the evaluator's own items and does not grade answers. List it "
            "after an evaluator that grades answers."
        )


class EvaluatorSpec(HoldsModels):
    """The settings of an evaluator. `of_policy`: whether the evaluator is a `PolicyEvaluator`. `judges_programs`:
    whether the evaluator runs each answer as a program; if so, `--plan` includes the time for running programs.
    `uncounted`: a description of work whose time `--plan` cannot estimate; '' if there is no such work."""

    belongs: ClassVar[str] = "an evaluator: it belongs under `evaluators:`"
    of_policy: ClassVar[bool] = False
    judges_programs: ClassVar[bool] = False
    uncounted: ClassVar[str] = ""

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        """Returns the measures that the evaluator computes for every prompt. There must be at least one measure.
        preflab chooses checkpoints and temperatures by the first measure, so a higher value of the first measure must
        be better."""
        return (REWARD,)

    @property
    def relative(self) -> tuple[RelativeMeasure, ...]:
        """The measures that a study's report computes as differences between each arm and a reference arm."""
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
