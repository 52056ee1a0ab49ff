"""Defines `Parts`, the objects of a run that a method uses. Also exports `Method`, the base class of all methods.

The caller creates these objects before it calls the method. A method does not import `preflab.evaluation`. A method
loads only the models that its spec names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from preflab.errors import UserError
from preflab.methods.spec import Method as Method
from preflab.methods.spec import Records as Records
from preflab.models.lm import LanguageModel
from preflab.rewards.base import Reward
from preflab.sampling.base import Sampler
from preflab.testbeds.base import Testbed
from preflab.train.learner import Learner, Optim
from preflab.train.loop import Run
from preflab.types import Preference, Prompt, Ranking, Rated, of_two

Validate = Callable[[LanguageModel], Mapping[str, float]]
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Parts:
    """The objects that a method uses in one run, such as the policy, the testbed, the sampler and the reward.

    `policy` is the model to train. `validate` measures the policy on the validation split and returns the measures by
    name. If there is a measure `score`, the checkpoint with the highest `score` is selected. `preferences` returns the
    training pairs. `ranked` returns the training rankings. `rated` returns single training answers, each with a label.
    `ranked` is None if the run has no rankings, and `rated` is None if the run has no single answers. `reward`: the
    scorer of the answers. `reward_model`: the model of a learned reward. `cost`: a second scorer, whose scores are
    costs. A higher cost is worse. `reward`, `reward_model` and `cost` are None if the run does not use them. `located`
    turns a path in the method's spec, such as `stage:NAME`, into a directory. `labels_paid`: whether an earlier stage
    of the study has already paid for the labels of the training data.
    """

    run: Run
    policy: LanguageModel
    testbed: Testbed
    preferences: Callable[[], Sequence[Preference]]
    validate: Validate | None
    sampler: Sampler
    reward: Reward | None = None
    cost: Reward | None = None
    reward_model: LanguageModel | None = None
    ranked: Callable[[], Sequence[Ranking]] | None = None
    rated: Callable[[], Sequence[Rated]] | None = None
    located: Callable[[str], Path] = Path
    labels_paid: bool = False
    token_budget: int = 8192

    def learner(self, model: nn.Module, optim: Optim) -> Learner:
        """Makes a learner for `model`. The learner charges its compute to this run's meter. If the run has the setting
        `plateau`, the learner uses the schedule `warmup-stable-decay` instead of the schedule in `optim`."""
        optim = self.run.ending.schedule(optim)
        return Learner(model, optim, token_budget=self.token_budget, meter=self.run.meter)

    def prompts(self) -> list[Prompt]:
        """Returns the training prompts. Raises `UserError` if the testbed has no training prompts."""
        prompts = list(self.testbed.prompts("train"))
        if not prompts:
            raise self.testbed.lacks("prompts", "train")
        return prompts

    def rankings(self) -> Sequence[Ranking]:
        """Returns the training rankings. If the run has no rankings, each of its preference pairs becomes a ranking:
        the chosen answer has score 1, and the rejected answer has score 0."""
        rankings = self.ranked() if self.ranked is not None else ()
        return rankings or [of_two(pair) for pair in self.preferences()]

    def buy(self, rows: Sequence[_Row], count: int, price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """Draws `count` training rows at random (0: all rows) and pays `price(row)` labels for each row. Runs with the
        same seed draw the same rows, even if their methods differ. If the run has a labels budget, returns only as many
        of these rows as the budget can pay for. If an earlier stage has already paid for the labels, returns all drawn
        rows without a charge."""
        chosen = self.run.seeds.draw(rows, count, "pairs")
        return chosen if self.labels_paid else self.run.labels.buy(chosen, price)

    def needed_reward(self) -> Reward:
        """Returns the run's reward. Raises `UserError` if the run has no reward."""
        if self.reward is None:
            raise UserError("This method needs a reward that scores its samples. Name a reward with --reward.")
        return self.reward

    def needed_cost(self) -> Reward:
        """Returns the run's cost. Raises `UserError` if the run has no cost."""
        if self.cost is None:
            raise UserError("This method needs a cost that scores its samples. Name a cost with --cost.")
        return self.cost
