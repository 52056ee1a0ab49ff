"""The base class of samplers' settings; this module does not import torch, since a study's plan reads the settings."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

from preflab.spec import Context, Spec

if TYPE_CHECKING:
    from preflab.sampling.base import Sampler


class SamplerSpec(Spec):
    """The base class of the settings of a sampler."""

    belongs: ClassVar[str] = "a sampler: it belongs under `sampler:`"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Sampler]:
        """Opens the sampler. It charges the tokens of the prompts and the drawn tokens to `context.meter`."""
