"""Defines the base classes of rewards and of reward specs, and checks the scores that code outside preflab returns."""

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
    """Scores completions. `RewardSpec.open` makes a reward.

    `deterministic`: whether the same prompt and completion always give the same score. If not, the journal of a run
    stores the scores, so that a resumed run gets the same scores. `buys_labels`: whether each score is charged as a
    label. It is False for a model that learned from labels. `outcomes`: for each outcome, such as a verdict of the
    tests, the number of answers with this outcome in the most recent call; empty if the reward has no outcomes.
    """

    deterministic: bool = True
    buys_labels: bool = True
    outcomes: Counter[str] = Counter()

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Returns one finite score for each completion. Completion b is an answer to prompt b. A higher score is
        better."""


class RewardSpec(HoldsModels):
    """The base class of the settings of a reward."""

    belongs: ClassVar[str] = "a reward: it belongs under `reward:`"

    @property
    def buys_labels(self) -> bool:
        """Whether each score is charged as a label. The scores of a model that learned from labels are free."""
        return True

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Reward]:
        """Opens the reward. Later, each call of the reward's `score` charges labels or compute to `context.meter`."""


def check_scores(scores: Any, count: int, source: str) -> list[float]:
    """Converts `scores` to a list of `count` floats. Raises `UserError` if `scores` are not `count` finite numbers. The
    error names the `source` of the scores and the first wrong row."""
    if isinstance(scores, (str, bytes, Mapping, Set)) or not hasattr(scores, "__iter__"):
        raise UserError(
            f"{source} returned a {type(scores).__name__} for {count} completions; it must return a list of numbers."
        )
    values = list(islice(scores, count + 1))  # a generator can be endless
    if len(values) != count:
        given = f"{len(values)}" if len(values) < count else f"more than {count}"
        raise UserError(
            f"{source} returned {given} scores for {count} completions; it must return one score for each, in order."
        )
    return [check_score(score, f"{source}, completion {row}") for row, score in enumerate(values)]


def check_score(score: Any, source: str) -> float:
    """Returns `score` as a float. Raises `UserError` if `score` is not a finite number."""
    try:
        value = math.nan if isinstance(score, (str, bytes)) else float(score)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        shown = f"{value}" if isinstance(score, float) else brief(score)
        raise UserError(f"{source}: the score must be a finite number, not {shown}.")
    return value


def answer_to_json(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """Returns a prompt and its completion as JSON data, in the form that reward programs and endpoints receive."""
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.turns]
    return {"id": prompt.id, "prompt": turns, "completion": completion.text, "truncated": completion.truncated}
