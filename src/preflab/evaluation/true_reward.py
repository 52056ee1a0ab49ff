"""The evaluator for the testbed `sentiment`. It measures the true reward of each answer. The preferences in the
testbed's data were drawn from this true reward."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade
from preflab.evaluation.measure import Measure
from preflab.evaluation.settings import Evaluation
from preflab.evaluation.true_values import require_true_values
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Prompt, Split

_POINTS = "points per asked item"
_MEASURES = (
    Measure(name="reward", label="true reward", better="higher", note=f"{_POINTS}; hidden from the methods"),
    Measure(name="regret", nonnegative=True, better="lower", note="the best attainable reward minus the true reward"),
    Measure(name="sentiment", better="higher", note=f"{_POINTS}, from the words about the asked items"),
    Measure(name="coverage", share=True, better="higher", note="the share of the asked items that the answer names"),
    Measure(name="penalties", nonnegative=True, better="lower", note=_POINTS),
)


class TrueReward(EvaluatorSpec):
    """The testbed's true reward grades each answer. The methods have only seen preferences that were drawn from this
    reward."""

    kind: Literal["true-reward"] = "true-reward"

    def measures(self, evaluation: Evaluation) -> tuple[Measure, ...]:
        return _MEASURES

    @contextmanager
    def open(self, context: Context) -> Generator[TrueRewardEvaluator]:
        names = [measure.name for measure in _MEASURES]
        yield TrueRewardEvaluator(require_true_values(context.testbed, names, self.kind))


class TrueRewardEvaluator(Evaluator):
    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        first, *others = [measure.name for measure in _MEASURES]
        rows = self.testbed.true_values(split, prompts, completions)
        return [Grade(row[first], values={name: row[name] for name in others}) for row in rows]
