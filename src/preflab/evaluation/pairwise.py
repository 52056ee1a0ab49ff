"""Defines pairwise evaluators. A pairwise evaluator compares two policies' answers to one prompt and says which answer is
better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from typing import Any, ClassVar, Literal

from preflab.errors import UserError
from preflab.evaluation.measure import Measure
from preflab.spec import Context, HoldsModels
from preflab.testbeds.base import Testbed
from preflab.types import Completion, Prompt, Split

WIN, TIE, LOSS = 1.0, 0.5, 0.0
"""The outcome of the first answer of a pair."""
DATA_CHOSEN = "data:chosen"
"""The name by which a study file and its results refer to the preferred answers in the data. An arm can be compared
with these answers in the same way as with another arm."""
WIN_RATE = Measure(name="win rate", share=True, better="higher", note="a tie counts as half a win")


class PairwiseEvaluator(ABC):
    """Compares answers. The base class of pairwise evaluators."""

    @abstractmethod
    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        """Returns the outcome of each first answer against the second answer to the same prompt: `WIN`, `TIE` or
        `LOSS`. `prompts`, `first` and `second` each have one entry for each pair. If a prompt has several pairs of
        answers, `prompts` repeats the prompt."""

    def select_prompts(self, names: Sequence[str]) -> Sequence[str]:
        """Returns the ids of the prompts whose answers are compared, in the order of `names`. By default, returns all
        ids. The choice must depend only on the ids, so that all pairs of arms are compared on the same prompts under
        all seeds."""
        return names

    def details(self) -> dict[str, Any]:
        """Returns plain data (JSON) about the last comparison. The result of a match keeps these data. By default,
        there are no data."""
        return {}


class PairwiseEvaluatorSpec(HoldsModels):
    """The settings of a pairwise evaluator. `measure`: the measure that describes the mean outcome. `uncounted`: work
    whose time `--plan` cannot estimate; '' for none."""

    belongs: ClassVar[str] = "a pairwise evaluator: it belongs under `pairwise:` of a study file"
    uncounted: ClassVar[str] = ""
    measure: ClassVar[Measure] = WIN_RATE

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[PairwiseEvaluator]:
        """Opens the evaluator. Raises `UserError` if the testbed lacks data that the evaluator needs."""


def data_answers(testbed: Testbed, which: Literal["chosen", "rejected"]) -> dict[str, Completion]:
    """Returns the data's preferred answer to each prompt of the test split, or the other answer, by the id of the
    prompt. If a prompt has several pairs, the first pair counts."""
    answers: dict[str, Completion] = {}
    for pair in testbed.preferences("test"):
        answers.setdefault(pair.prompt.id, pair.chosen if which == "chosen" else pair.rejected)
    return answers


def check_outcomes(outcomes: Any, pairs: int, *, source: str) -> list[float]:
    """Returns the outcomes as a list. Raises `UserError` if `source` did not give one outcome for each of the `pairs`,
    or if a value is not an outcome. True and False are refused, because they cannot express a tie."""
    each = f"each WIN ({WIN}), TIE ({TIE}) or LOSS ({LOSS})"
    if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | bytes):
        raise UserError(f"{source} gave {outcomes!r:.60}, not a list with one outcome for each pair, {each}.")
    listed: list[Any] = list(outcomes)
    if len(listed) != pairs:
        raise UserError(
            f"{source} gave {len(listed)} outcomes for {pairs} pairs. Return one outcome for each pair, {each}."
        )
    for place, outcome in enumerate(listed, 1):
        if type(outcome).__name__ in ("bool", "bool_"):  # Python's and numpy's
            raise UserError(
                f"{source} gave {outcome} for pair {place}. Return WIN, TIE or LOSS instead of True or False."
            )
        if not isinstance(outcome, Real) or outcome not in (WIN, TIE, LOSS):
            raise UserError(
                f"{source} gave {outcome!r:.60} for pair {place}. Return one outcome for each pair, {each}."
            )
    return [float(outcome) for outcome in listed]
