"""The base class of samplers' settings. This module does not import torch, because the plan of a study reads the
settings."""

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
        """Opens the sampler. The sampler adds the numbers of prompt tokens and of drawn tokens to `context.meter`."""
