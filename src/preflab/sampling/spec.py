"""The settings of a sampler, from which a new sampler derives its own settings. No torch: plans read them."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar

from preflab.spec import Context, Spec

if TYPE_CHECKING:
    from preflab.sampling.base import Sampler


class SamplerSpec(Spec):
    """The settings of a sampler."""

    belongs: ClassVar[str] = "a sampler: it belongs under `sampler:`"

    @abstractmethod
    def open(self, context: Context) -> AbstractContextManager[Sampler]:
        """Opens the sampler, which charges the tokens that it reads and draws to `context.meter`."""
