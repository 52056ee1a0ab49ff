"""The parts of a run that a method works with, beside the base class of the methods.

The parts are open: a method does not import evaluation, and loads no model but those that its own spec names.
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

    `policy` is the model to train; `validate` measures it on the validation split (its key `score`, where it has one,
    selects checkpoints).
    `preferences` gives the training pairs, `ranked` the rankings and `rated` the single answers; the last two are None where
    the run has none, as `reward` and `reward_model` are. `located` turns a path in the method's spec, such as `stage:NAME`,
    into a directory. `labels_paid`: a stage has paid for the labels of the training data.
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
        """A learner of `model` that charges this run's meter."""
        return Learner(model, optim, token_budget=self.token_budget, meter=self.run.meter)

    def prompts(self) -> list[Prompt]:
        """The training prompts; raises `UserError` where there is none."""
        prompts = list(self.testbed.prompts("train"))
        if not prompts:
            raise UserError("The testbed has no prompts to train on.")
        return prompts

    def rankings(self) -> Sequence[Ranking]:
        """The training rankings. Where the run has none: its pairs, as rankings of two answers with scores 1 and 0."""
        if self.ranked is not None:
            return self.ranked()
        return [of_two(pair) for pair in self.preferences()]

    def buy(self, rows: Sequence[_Row], count: int, price: Callable[[_Row], int] = lambda row: 1) -> list[_Row]:
        """`count` of the training rows (0: all), drawn once for the run, at `price(row)` labels each. Under one seed every
        method draws the same rows. A labels budget caps them, unless a stage has paid for them."""
        chosen = self.run.seeds.draw(rows, count, "pairs")
        return chosen if self.labels_paid else self.run.labels.buy(chosen, price)

    def needed_reward(self) -> Reward:
        """The reward; raises `UserError` where the run names none."""
        if self.reward is None:
            raise UserError("This method scores its own samples: name a reward with --reward.")
        return self.reward
