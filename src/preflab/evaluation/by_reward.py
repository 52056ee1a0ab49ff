"""A pairwise evaluator: the answer with the higher score from a held-out reward model wins."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from pydantic import Field

from preflab.evaluation.pairwise import LOSS, TIE, WIN, PairwiseEvaluator, PairwiseEvaluatorSpec
from preflab.rewards.base import Reward
from preflab.rewards.learned import Learned
from preflab.spec import Context
from preflab.types import Completion, Prompt, Split


class ByReward(PairwiseEvaluatorSpec):
    """The answer with the higher score from a held-out reward model wins. If the scores differ by `margin` or less, the
    outcome is a tie."""

    kind: Literal["by-reward"] = "by-reward"
    model: Learned
    margin: float = Field(default=0.0, ge=0)

    @contextmanager
    def open(self, context: Context) -> Generator[OpenByReward]:
        with self.model.open(context) as reward:
            yield OpenByReward(reward, self.margin)


class OpenByReward(PairwiseEvaluator):
    def __init__(self, reward: Reward, margin: float) -> None:
        self.reward = reward
        self.margin = margin

    def compare(
        self, split: Split, prompts: Sequence[Prompt], first: Sequence[Completion], second: Sequence[Completion]
    ) -> list[float]:
        scores = zip(self.reward.score(prompts, first), self.reward.score(prompts, second), strict=True)
        return [TIE if abs(one - other) <= self.margin else WIN if one > other else LOSS for one, other in scores]
