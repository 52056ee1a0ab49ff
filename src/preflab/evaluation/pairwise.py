"""What a pairwise evaluator is: of two policies' answers to one prompt it says which one is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

from preflab.evaluation.measure import Measure
from preflab.spec import Context, HoldsModels
from preflab.types import Completion, Prompt, Split

WIN, TIE, LOSS = 1.0, 0.5, 0.0
"""What the first answer gets."""
WIN_RATE = Measure(name="win rate", share=True, better="higher", note="a tie counts as half a win")


class PairwiseEvaluator(ABC):
    """Compares answers."""

    @abstractmethod
    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        """What each first answer gets against the second answer to the same prompt: `WIN`, `TIE` or `LOSS`."""


class PairwiseEvaluatorSpec(HoldsModels):
    """The settings of a pairwise evaluator. `measure`: what the mean outcome is called."""

    measure: ClassVar[Measure] = WIN_RATE

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[PairwiseEvaluator]:
        """The opened evaluator. Raises `UserError` where the testbed lacks what it needs."""
