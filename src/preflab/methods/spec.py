"""The base class of the methods. No torch: plans read them.

The fields of a method's spec are its hyper-parameters. `train(parts)` runs it and returns what it trained.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict

from preflab.methods.cost import Cost, DataSize
from preflab.sampling.inference import Inference
from preflab.spec import HoldsModels
from preflab.types import Preference, Ranking

if TYPE_CHECKING:
    from preflab.methods.base import Parts
    from preflab.models.lm import LanguageModel


class Method(HoldsModels):
    """The base of the methods' specs. `product` says what `train` returns and what the run directory keeps."""

    model_config = ConfigDict(allow_inf_nan=False)
    belongs: ClassVar[str] = "a method: it belongs under `method:`"
    product: ClassVar[str] = "policy"

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
