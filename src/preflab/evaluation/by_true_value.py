"""A pairwise evaluator: the answer with the better true value wins. The true values come from the testbed and have no
error."""

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
    """The answer with the better true value wins. `value`: the name of the true value, such as `reward` on sentiment
    and `helpfulness` on safeworld. `better`: whether a `higher` or a `lower` value is better. For `cost`, a lower value
    is better. If the values differ by `margin` or less, the outcome is a tie."""

    kind: Literal["by-true-value"] = "by-true-value"
    value: str = "reward"
    better: Literal["higher", "lower"] = "higher"
    margin: float = Field(default=0.0, ge=0)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenByTrueValue]:
        yield OpenByTrueValue(self, require_true_values(context.testbed, [self.value], self.kind))


class OpenByTrueValue(PairwiseEvaluator):
    def __init__(self, spec: ByTrueValue, testbed: Testbed) -> None:
        self.spec = spec
        self.testbed = testbed

    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        ones, others = self._read(split, prompts, first), self._read(split, prompts, second)
        return [self._decide(one - other) for one, other in zip(ones, others, strict=True)]

    def _read(self, split: Split, prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
        return [row[self.spec.value] for row in self.testbed.true_values(split, prompts, answers)]

    def _decide(self, gap: float) -> float:
        if abs(gap) <= self.spec.margin:
            return TIE
        return WIN if (gap > 0) == (self.spec.better == "higher") else LOSS
