"""Defines the settings of a run that do not depend on its method: the budget, the plateau, and the checkpoints."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, model_validator

from preflab.errors import UserError
from preflab.meter import Unit
from preflab.spec import Spec

COOLDOWN = 0.15
"""The length of the cooldown, as a share of the run. In the cooldown, at the end of the run, the learning rate of the
schedule `warmup-stable-decay` falls to 0."""


class Budget(Spec):
    """The budget that limits an arm. `unit`: `compute` (counted in FLOP) or `labels`. `amount`: the largest amount of
    this unit that the arm can use. `charged`: the part of `amount` that the arm's stages have already used."""

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
        """The part of the budget that is left to train the arm after its stages have used their part. The arm's
        learning-rate schedule and its evaluations during training are spread over this part.

        Raises `UserError` if nothing is left.
        """
        if self.charged >= self.amount:
            raise UserError(self._short())
        return self.amount - self.charged

    def _short(self) -> str:
        return (
            f"The stages that this arm needs use {self.charged:.3g} of its budget of {self.amount:.3g} "
            f"({self.unit}): nothing is left to train the arm. Raise the budget."
        )


class Plateau(Spec):
    """Ends a run when its validation score has not improved for `patience` evaluations. The number of steps in the
    method's settings, or the budget, is then only an upper limit.

    After the warm-up the learning rate is constant. A cooldown begins when the best score is `patience` evaluations
    old, or at the latest after 85% of the upper limit. In the cooldown, the rate falls linearly to 0, and then the run
    ends. The cooldown is 15% of the whole run. This schedule replaces the schedule of the method's optimizers, because
    a cosine schedule needs a length that is known in advance. The setting `looks` is the number of evaluations, which
    are equally spaced up to the upper limit. Xu et al. 2024 train each method until its validation stops improving
    (Section 5), but do not state the rule.
    """

    patience: int = Field(default=4, ge=1)


class Keeping(Spec):
    """The settings for a run's checkpoints, its progress display and its tracking. None of these settings changes a
    result.

    `wandb`: the W&B project in which the run is tracked. The default is the value of the environment variable
    `PREFLAB_WANDB`. The variable also applies to the arms of a study.
    """

    checkpoint_seconds: float = 60.0
    checkpoints: int = Field(default=2, ge=1)
    progress: bool = True
    wandb: str | None = Field(default_factory=lambda: os.environ.get("PREFLAB_WANDB") or None)
