"""Defines the settings that all methods with a critic have."""

from __future__ import annotations

from typing import Literal, Protocol

from preflab import ops
from preflab.methods.shared.surrogate import Surrogate


class WithCritic(Surrogate, Protocol):
    """The additional settings of a method with a critic. Each setting is a field of the method.

    `gamma`, `lam`: see `ops.gae`. `value_clip`: see `ppo_value_loss`. `truncated`: see `ppo.estimate_advantages`.
    `normalise_values`, `value_decay`: see `ppo.rescale_values` and `ops.RunningMoments`.
    """

    gamma: float
    lam: float
    value_clip: float | None
    kl_estimator: ops.KlEstimator
    truncated: Literal["bootstrap", "score"]
    normalise_advantages: bool
    normalise_values: bool
    value_decay: float
