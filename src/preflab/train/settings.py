"""A run's settings that are not a method's: the budget that binds it, and how it is kept."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, model_validator

from preflab.errors import UserError
from preflab.meter import Unit
from preflab.spec import Spec


class Budget(Spec):
    """The binding budget of an arm: `amount` of FLOP (compute) or labels, of which `charged` is spent before it begins
    (the stages that it stands on)."""

    unit: Unit = "compute"
    amount: float = Field(gt=0, allow_inf_nan=False)
    charged: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _covers_its_stages(self) -> Self:
        if self.charged > self.amount:
            raise UserError(self._short())
        return self

    @property
    def own(self) -> float:
        """What is left for the arm itself: its schedule and its looks at the validation split span this alone.

        Raises `UserError` where nothing is left.
        """
        if self.charged >= self.amount:
            raise UserError(self._short())
        return self.amount - self.charged

    def _short(self) -> str:
        return (
            f"The stages that this arm stands on use {self.charged:.3g} of its budget of {self.amount:.3g} "
            f"({self.unit}): nothing is left to train it. Raise the budget."
        )


class Keeping(Spec):
    """How a run is kept; none of it changes a result.

    `wandb`: the W&B project to track the run in; by default the one that `PREFLAB_WANDB` names, which a
    study's arms see too.
    """

    checkpoint_seconds: float = 60.0
    checkpoints: int = Field(default=2, ge=1)
    progress: bool = True
    wandb: str | None = Field(default_factory=lambda: os.environ.get("PREFLAB_WANDB") or None)
