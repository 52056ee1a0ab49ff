"""Defines `Method`, the base class of all methods. Does not import torch, because study plans import this module.

The fields of a method's spec are its hyper-parameters. `train(parts)` runs the method and returns its product, such as
a policy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict

from preflab.methods.cost import Cost, DataSize
from preflab.sampling.inference import Inference
from preflab.spec import HoldsModels, Spec
from preflab.types import Preference, Ranking

if TYPE_CHECKING:
    from preflab.methods.base import Parts
    from preflab.models.lm import LanguageModel

SCORERS = ("reward_model", "cost_model")
"""The products of methods that train a model to score answers."""
Records = Literal["prompts", "demonstrations", "preferences", "rankings", "rated", "none"]


class Method(HoldsModels):
    """The base class of the specs of all methods. `product`: the kind of result that `train` returns and the run saves.
    `starts_from_policy`: whether the method uses the run's starting policy. `scores_samples`: whether the method draws
    the policy's answers to the training prompts and scores these answers. Such a method needs a reward. `needs_cost`:
    whether the method also needs a cost for these answers. `keeps_reference`: whether the method keeps a second copy of
    the trainable weights while it trains. `critics`: the number of critics that the method trains."""

    model_config = ConfigDict(allow_inf_nan=False)
    belongs: ClassVar[str] = "a method: it belongs under `method:`"
    product: ClassVar[str] = "policy"
    starts_from_policy: ClassVar[bool] = True
    scores_samples: ClassVar[bool] = False
    needs_cost: ClassVar[bool] = False
    keeps_reference: ClassVar[bool] = False
    critics: ClassVar[int] = 0

    @property
    def learns_from(self) -> Records:
        """The kind of records that the method reads from the training split; "none" if it reads no records or does not
        declare a kind."""
        return "prompts" if self.scores_samples else "none"

    @property
    def answer_tokens(self) -> int:
        """The largest number of tokens that a training answer from the data can have; 0 if the method does not train on
        answers from the data."""
        return max(_limits_of(self, "max_completion_tokens"), default=0)

    @property
    def drawn_tokens(self) -> int:
        """The largest number of tokens that an answer drawn by the method can have; 0 if the method draws no
        answers."""
        return max(_limits_of(self, "max_new_tokens"), default=0)

    @property
    def critic_from_reward(self) -> bool:
        """Whether the method's critic starts from the weights of the run's reward model."""
        return False

    def inference(self) -> Inference:
        """Returns the rule by which the trained policy answers a prompt at test time. The default is to answer with one
        sample."""
        return Inference()

    @abstractmethod
    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of a whole run on data of this size. A budget of the run is not taken into account."""

    @abstractmethod
    def train(self, parts: Parts) -> LanguageModel | Sequence[Preference] | Sequence[Ranking]:
        """Runs the method and returns its product. The caller saves the product in the folder `final` of the run
        directory."""


def _limits_of(spec: Spec, field: str) -> Iterator[int]:
    """Yields the value of each field named `field` in `spec` and in the specs nested in `spec`. Such a field limits the
    length of answers."""
    for name, value in spec:
        if isinstance(value, Spec):
            yield from _limits_of(value, field)
        elif name == field:
            yield int(value)
