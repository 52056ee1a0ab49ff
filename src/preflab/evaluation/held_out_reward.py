"""The evaluator for dialogues: a reward model scores the answers. No method trains on the data of this reward model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from preflab.evaluation.base import Evaluator, EvaluatorSpec, Grade
from preflab.rewards.base import Reward
from preflab.rewards.learned import Learned
from preflab.spec import Context
from preflab.types import Completion, Prompt, Split


class HeldOutReward(EvaluatorSpec):
    """A reward model scores each answer. No arm was trained on the data of this reward model.

    `model`: the evaluator's reward model and the normalisation of its scores.
    """

    kind: Literal["reward-model"] = "reward-model"
    model: Learned

    @contextmanager
    def open(self, context: Context) -> Generator[HeldOutRewardEvaluator]:
        with self.model.open(context) as reward:
            yield HeldOutRewardEvaluator(reward)


class HeldOutRewardEvaluator(Evaluator):
    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    def grade(self, split: Split, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Grade]:
        return [Grade(score) for score in self.reward.score(prompts, completions)]
