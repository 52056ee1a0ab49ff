"""The base class of samplers' settings. This module does not import torch, because the plan of a study reads the
settings."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from preflab.spec import Context, Spec

if TYPE_CHECKING:
    from preflab.models.footprint import Footprint
    from preflab.sampling.base import Sampler


@dataclass(frozen=True)
class SamplingLoad:
    """What a run samples from, and how much. `model`: the size of the model. `answers`: the largest number of answers that
    are drawn together. `tokens`: the length of a prompt and its answer. `device`: "cpu" or "cuda"."""

    model: Footprint
    answers: float
    tokens: int
    device: str


class SamplerSpec(Spec):
    """The base class of the settings of a sampler."""

    belongs: ClassVar[str] = "a sampler: it belongs under `sampler:`"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Sampler]:
        """Opens the sampler. The sampler adds the numbers of prompt tokens and of drawn tokens to `context.meter`."""

    def memory(self, load: SamplingLoad) -> float:
        """Returns an estimate of the bytes that the sampler takes on the run's device in addition to the model; 0 if they
        are not known."""
        return 0.0
