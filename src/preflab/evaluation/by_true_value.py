"""A pairwise evaluator: the answer with the higher true value wins. Its win rates are exact."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from pydantic import Field

from preflab.evaluation.pairwise import LOSS, TIE, WIN, PairwiseEvaluator, PairwiseEvaluatorSpec
from preflab.evaluation.true_values import require_true_values
from preflab.spec import Context
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Prompt, Split


class ByTrueValue(PairwiseEvaluatorSpec):
    """The answer with the higher true value wins. `value`: the name of the true value, such as `reward` on sentiment and
    `helpfulness` on safeworld. If the values differ by `margin` or less, the outcome is a tie."""

    kind: Literal["by-true-value"] = "by-true-value"
    value: str = "reward"
    margin: float = Field(default=0.0, ge=0)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenByTrueValue]:
        yield OpenByTrueValue(require_true_values(context.testbed, [self.value], self.kind), self.value, self.margin)


class OpenByTrueValue(PairwiseEvaluator):
    def __init__(self, testbed: Testbed, value: str, margin: float) -> None:
        self.testbed = testbed
        self.value = value
        self.margin = margin

    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        values = zip(self._read(split, prompts, first), self._read(split, prompts, second), strict=True)
        return [TIE if abs(one - other) <= self.margin else WIN if one > other else LOSS for one, other in values]

    def _read(self, split: Split, prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
        return [row[self.value] for row in self.testbed.true_values(split, prompts, answers)]
