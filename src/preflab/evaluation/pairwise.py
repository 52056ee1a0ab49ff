"""Defines the base classes of pairwise evaluators. A pairwise evaluator compares two policies' answers to the same
prompt and decides which answer is better."""

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
"""The three possible outcomes of a pair, from the side of the pair's first answer."""
DATA_CHOSEN = "data:chosen"
"""The name that stands for the preferred answers in the data, in a study file and its results. An arm can be compared
with these answers in the same way as with another arm."""
WIN_RATE = Measure(name="win rate", share=True, better="higher", note="a tie counts as half a win")


class PairwiseEvaluator(ABC):
    """The base class of pairwise evaluators. A pairwise evaluator compares two answers to the same prompt."""

    @abstractmethod
    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        """Compares pairs of answers. Returns one outcome for each pair, from the side of the first answer: `WIN`, `TIE`
        or `LOSS`. Pair i is `first[i]` and `second[i]`, two answers to `prompts[i]`. If a prompt has several pairs of
        answers, `prompts` contains the prompt several times."""

    def select_prompts(self, names: Sequence[str]) -> Sequence[str]:
        """Selects the prompts whose answers are compared. `names`: the ids of all prompts. Returns the ids of the
        selected prompts in the order of `names`; by default, all ids. The selection must depend only on the ids, so
        that all pairs of arms are compared on the same prompts under all seeds."""
        return names

    def details(self) -> dict[str, Any]:
        """Returns plain data (JSON) about the last comparison, which are stored with the outcomes. By default, returns
        an empty mapping."""
        return {}


class PairwiseEvaluatorSpec(HoldsModels):
    """The settings of a pairwise evaluator. `measure`: the `Measure` of the mean outcome. `uncounted`: a description of
    work whose time `--plan` cannot estimate; '' if there is no such work."""

    belongs: ClassVar[str] = "a pairwise evaluator: it belongs under `pairwise:` of a study file"
    uncounted: ClassVar[str] = ""
    measure: ClassVar[Measure] = WIN_RATE

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[PairwiseEvaluator]:
        """Opens the evaluator. Raises `UserError` if the testbed lacks data that the evaluator needs."""


def data_answers(testbed: Testbed, which: Literal["chosen", "rejected"]) -> dict[str, Completion]:
    """Returns the chosen or the rejected answer in the data to each prompt of the test split, by the prompt's id. If a
    prompt has several pairs, uses the answer of the first pair."""
    answers: dict[str, Completion] = {}
    for pair in testbed.preferences("test"):
        answers.setdefault(pair.prompt.id, pair.chosen if which == "chosen" else pair.rejected)
    return answers


def check_outcomes(outcomes: Any, pairs: int, *, source: str) -> list[float]:
    """Returns the outcomes as a list. `pairs`: the number of pairs. `source`: the name of the function that returned
    the outcomes, for messages. Raises `UserError` if there is not one outcome for each pair, or if a value is not
    `WIN`, `TIE` or `LOSS`. True and False are refused, because they cannot express a tie."""
    each = f"each WIN ({WIN}), TIE ({TIE}) or LOSS ({LOSS})"
    if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | bytes):
        raise UserError(f"{source} gave {outcomes!r:.60}. Return a list with one outcome for each pair, {each}.")
    listed: list[Any] = list(outcomes)
    if len(listed) != pairs:
        raise UserError(
            f"{source} gave {len(listed)} outcomes for {pairs} pairs. Return one outcome for each pair, {each}."
        )
    for place, outcome in enumerate(listed, 1):
        if type(outcome).__name__ in ("bool", "bool_"):  # the Boolean types of Python and numpy
            raise UserError(
                f"{source} gave {outcome} for pair {place}. Return WIN, TIE or LOSS instead of True or False."
            )
        if not isinstance(outcome, Real) or outcome not in (WIN, TIE, LOSS):
            raise UserError(
                f"{source} gave {outcome!r:.60} for pair {place}. Return one outcome for each pair, {each}."
            )
    return [float(outcome) for outcome in listed]
