"""The base class of the methods, and the parts of a run that a method works with.

The fields of a method's spec are its hyper-parameters. `train(parts)` runs it and returns what it trained. The parts are
open: a method does not import evaluation, and loads no model but those that its own spec names.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import ConfigDict
from torch import nn

from preflab.errors import UserError
from preflab.methods.cost import Cost, DataSize
from preflab.models.lm import LanguageModel
from preflab.rewards.base import Reward
from preflab.sampling.base import Sampler
from preflab.sampling.inference import Inference
from preflab.spec import HoldsModels, Spec
from preflab.testbeds.base import Testbed
from preflab.train.learner import Learner, Optim
from preflab.train.loop import Run
from preflab.types import Preference, Prompt, Ranking, Rated, of_two

Records = Literal["prompts", "demonstrations", "preferences", "rankings", "rated", "none"]
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


class Method(HoldsModels):
    """The base of the methods' specs. `product` says what `train` returns and what the run directory keeps.
    `starts_from_policy`: whether it uses the run's starting policy at all. `scores_samples`: whether it asks the training
    prompts and scores what the policy answers, for which it needs a reward."""

    model_config = ConfigDict(allow_inf_nan=False)
    product: ClassVar[str] = "policy"
    starts_from_policy: ClassVar[bool] = True
    scores_samples: ClassVar[bool] = False

    @property
    def learns_from(self) -> Records:
        """The records of the training split that it reads; "none" where it reads none of them, or does not say."""
        return "prompts" if self.scores_samples else "none"

    @property
    def answer_tokens(self) -> int:
        """The tokens of the longest answer that it learns from or draws; 0 where it does neither."""
        return max(_answer_limits(self), default=0)

    @property
    def critic_from_reward(self) -> bool:
        """Whether its critic starts from the weights of the run's reward model."""
        return False

    def inference(self) -> Inference:
        """How the trained policy answers a prompt: with one sample, unless the method overrides it."""
        return Inference()

    @abstractmethod
    def cost(self, size: DataSize) -> Cost:
        """The cost of a whole run on data of this size, without a budget."""

    @abstractmethod
    def train(self, parts: Parts) -> LanguageModel | Sequence[Preference] | Sequence[Ranking]:
        """Runs the method. What it returns is saved under `final/`."""


def _answer_limits(spec: Spec) -> Iterator[int]:
    """The bounds of answers that a spec and the specs in it state."""
    for name, value in spec:
        if isinstance(value, Spec):
            yield from _answer_limits(value)
        elif name in ("max_completion_tokens", "max_new_tokens"):
            yield int(value)
