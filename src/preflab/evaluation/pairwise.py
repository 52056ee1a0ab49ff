"""What a pairwise evaluator is: of two policies' answers to one prompt it says which one is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from typing import Any, ClassVar

from preflab.errors import UserError
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
        """What each first answer gets against the second answer to the same prompt: `WIN`, `TIE` or `LOSS`. The three lists are
        of one length, an entry a pair: a prompt stands there as often as it was answered."""


class PairwiseEvaluatorSpec(HoldsModels):
    """The settings of a pairwise evaluator. `measure`: what the mean outcome is called."""

    belongs: ClassVar[str] = "a pairwise evaluator: it belongs under `pairwise:` of a study file"
    measure: ClassVar[Measure] = WIN_RATE

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[PairwiseEvaluator]:
        """The opened evaluator. Raises `UserError` where the testbed lacks what it needs."""


def check_outcomes(outcomes: Any, pairs: int, *, source: str) -> list[float]:
    """The outcomes of so many pairs. Raises `UserError` where `source` gave another number of them, or what is none. True and
    False are none: they would make a loss of every tie."""
    each = f"each WIN ({WIN}), TIE ({TIE}) or LOSS ({LOSS})"
    if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | bytes):
        raise UserError(f"{source} gave {outcomes!r:.60}, not a list of one outcome a pair, {each}.")
    listed: list[Any] = list(outcomes)
    if len(listed) != pairs:
        raise UserError(f"{source} gave {len(listed)} outcomes for {pairs} pairs, {each}.")
    for place, outcome in enumerate(listed, 1):
        if type(outcome).__name__ in ("bool", "bool_"):  # Python's and numpy's
            raise UserError(f"{source} gave {outcome} for pair {place}: outcomes are WIN, TIE or LOSS, not True/False.")
        if not isinstance(outcome, Real) or outcome not in (WIN, TIE, LOSS):
            raise UserError(f"{source} gave {outcome!r:.60} for pair {place}: it gives one outcome a pair, {each}.")
    return [float(outcome) for outcome in listed]
