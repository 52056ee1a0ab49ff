"""What a reward offers: its spec and the opened reward. Also checks every score that code outside preflab gives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, ClassVar

from preflab.errors import UserError
from preflab.spec import Context, HoldsModels
from preflab.text import brief
from preflab.types import Completion, Prompt


class Reward(ABC):
    """Scores completions.

    `deterministic`: the same prompt and completion always give the same score; whoever needs an exact resume journals the
    scores of a reward that is not deterministic. `buys_labels`: a score counts as a label; false if a model that learnt from
    labels gives the score. `outcomes`: the number of the most recently scored answers with each outcome; empty if scores
    have no named outcomes.
    """

    deterministic: bool = True
    buys_labels: bool = True
    outcomes: Counter[str] = Counter()

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns one finite number for each completion, row b answering prompt b; higher is better."""


class RewardSpec(HoldsModels):
    """The settings of a reward."""

    belongs: ClassVar[str] = "a reward: it belongs under `reward:`"

    @property
    def buys_labels(self) -> bool:
        """Whether each score is a new label that is paid for. A model that learnt from the data gives scores that are not."""
        return True

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Reward]:
        """Opens the reward, which charges what it does to `context.meter`."""


def check_scores(scores: Any, count: int, source: str) -> list[float]:
    """Returns `scores` as `count` finite floats; raises `UserError` naming the `source` and the first wrong row."""
    if isinstance(scores, (str, bytes, Mapping, Set)) or not hasattr(scores, "__iter__"):
        raise UserError(
            f"{source} gave a {type(scores).__name__} for {count} completions; it must give a list of numbers."
        )
    values = list(islice(scores, count + 1))  # a generator may have no end
    if len(values) != count:
        given = f"{len(values)}" if len(values) < count else f"more than {count}"
        raise UserError(f"{source} gave {given} scores for {count} completions; it must give one each, in order.")
    return [check_score(score, f"{source}, completion {row}") for row, score in enumerate(values)]


def check_score(score: Any, source: str) -> float:
    """Returns `score` as a finite float; raises `UserError` if it is not a finite number."""
    try:
        value = math.nan if isinstance(score, (str, bytes)) else float(score)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        shown = f"{value}" if isinstance(score, float) else brief(score)
        raise UserError(f"{source}: the score must be a finite number, not {shown}.")
    return value


def answer_to_json(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """Returns a completion in the form in which programs outside preflab receive it."""
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
    return {"id": prompt.id, "prompt": turns, "completion": completion.text, "truncated": completion.truncated}
