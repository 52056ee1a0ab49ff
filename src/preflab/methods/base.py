"""The parts of a run that a method works with. The base class of the methods can be imported from here too.

A method gets its parts already open: it does not import evaluation, and it loads only the models that its own spec names.
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
    """The open parts of one run.

    `policy` is the model to train. `validate` measures the policy on the validation split; if one of the measures is named
    `score`, it selects checkpoints. `preferences` gives the training pairs, `ranked` gives the rankings, and `rated` gives
    the single answers. `ranked`, `rated`, `reward` and `reward_model` are None if the run does not have them. `located`
    turns a path in the method's spec, such as `stage:NAME`, into a directory. `labels_paid`: whether a stage has already
    paid for the labels of the training data.
    """

    run: Run
    policy: LanguageModel
    testbed: Testbed
    preferences: Callable[[], Sequence[Preference]]
    validate: Validate | None
    sampler: Sampler
    reward: Reward | None = None
    reward_model: LanguageModel | None = None
    ranked: Callable[[], Sequence[Ranking]] | None = None
    rated: Callable[[], Sequence[Rated]] | None = None
    located: Callable[[str], Path] = Path
    labels_paid: bool = False
    token_budget: int = 8192

    def learner(self, model: nn.Module, optim: Optim) -> Learner:
        """Makes a learner for `model` that charges this run's meter."""
        return Learner(model, optim, token_budget=self.token_budget, meter=self.run.meter)

    def prompts(self) -> list[Prompt]:
        """The training prompts. Raises `UserError` if the testbed has none."""
        prompts = list(self.testbed.prompts("train"))
        if not prompts:
            raise self.testbed.lacks("prompts", "train")
        return prompts

    def rankings(self) -> Sequence[Ranking]:
        """The training rankings. If the run has no rankings, each of its pairs becomes a ranking of two answers with scores
        1 and 0."""
        if self.ranked is not None:
            return self.ranked()
        return [of_two(pair) for pair in self.preferences()]

    def buy(self, rows: Sequence[_Row], count: int, price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """Draws `count` of the training rows (0: all), once for the run, and buys them at `price(row)` labels each. Every
        method draws the same rows if the seed is the same. A labels budget caps the number of rows. If a stage has already
        paid for the labels, nothing is charged and nothing is capped."""
        chosen = self.run.seeds.draw(rows, count, "pairs")
        return chosen if self.labels_paid else self.run.labels.buy(chosen, price)

    def needed_reward(self) -> Reward:
        """The run's reward. Raises `UserError` if the run does not name a reward."""
        if self.reward is None:
            raise UserError("This method scores its own samples: name a reward with --reward.")
        return self.reward
