"""The settings of a run that do not belong to its method: the budget of the run, and how the run is kept."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, model_validator

from preflab.errors import UserError
from preflab.meter import Unit
from preflab.spec import Spec


class Budget(Spec):
    """The budget that limits an arm. `amount`: how much of `unit`, FLOP (compute) or labels, may be used. `charged`: the
    part of `amount` that earlier stages, on which the arm builds, have already used."""

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
        """The part of the budget that is left for the arm itself. The arm's schedule and validations span this part alone.

        Raises `UserError` if nothing is left.
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
    """The settings for how a run is kept. None of these settings changes a result.

    `wandb`: the W&B project to track the run in. By default this is the project that the environment variable
    `PREFLAB_WANDB` names; the arms of a study see this variable too.
    """

    checkpoint_seconds: float = 60.0
    checkpoints: int = Field(default=2, ge=1)
    progress: bool = True
    wandb: str | None = Field(default_factory=lambda: os.environ.get("PREFLAB_WANDB") or None)
