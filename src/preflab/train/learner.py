"""Updates a model from a batch and a loss, with an optimizer and a learning-rate schedule.

The rows of the batch are sorted by length and split into micro-batches by a token budget. The loss terms of every
micro-batch are divided by the number of tokens or sequences in the *whole* batch of all ranks, so that the split does
not change the update. The weights are always fp32. With the precision bf16, the arithmetic uses autocast (see
`models.forward.precision`). Dropout is off, because the model stays in evaluation mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from preflab import dist, ops
from preflab.batch import micro_batches
from preflab.meter import Meter
from preflab.models.reference import trainable
from preflab.spec import Spec
from preflab.train.settings import COOLDOWN
from preflab.train.state import require_count, require_number, require_tensor


class Optim(Spec):
    """Settings of AdamW, with a warm-up and a schedule over the run's budget. The defaults are those of ReaL, the
    library that Xu et al. 2024 use. Each update covers a part of the run, and uses the learning rate at the midpoint of
    this part (see `Run.progress_of_update`).

    The schedule `warmup-stable-decay` keeps the rate constant after the warm-up. In the last 15% of the run, the rate
    falls linearly to 0. Skipped updates delay the schedules of the other kinds, but do not delay this decay to 0."""

    model_config = ConfigDict(allow_inf_nan=False)
    learning_rate: float = Field(default=1e-5, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    eps: float = Field(default=1e-5, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    schedule: Literal["cosine", "linear", "constant", "warmup-stable-decay"] = "cosine"
    warmup: float = Field(default=0.02, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, ge=0)

    def factor(self, position: float, progress: float | None = None) -> float:
        """Returns the factor by which the learning rate is multiplied. `position`: the position in the schedule, in
        [0,1]. A skipped update does not advance the position. `progress`: the share of the run that is done. A skipped
        update advances the progress. If `progress` is None, `position` is used."""
        if position < self.warmup:
            return max(position / self.warmup, 0.01)
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "warmup-stable-decay":
            return min(1.0, max(0.0, 1.0 - (position if progress is None else progress)) / COOLDOWN)
        rest = min((position - self.warmup) / (1.0 - self.warmup), 1.0)
        return 1.0 - rest if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * rest))


class Terms(NamedTuple):
    """A loss before its reduction to one number, for a batch of B rows with T tokens. `terms` and `mask` both have the
    shape [B,T], or `terms` has the shape [B] and `mask` is None.

    `stats`: further values to log, which have the shape of `terms` and are averaged in the same way. The loss itself is
    always logged.
    """

    terms: Tensor
    mask: Tensor | None
    stats: Mapping[str, Tensor]


Guard = Callable[[Mapping[str, float]], bool]
"""A function that takes the averaged stats of an update and returns True if the update must be skipped."""


class Learner:
    """Trains the trainable parameters of a model with AdamW."""

    def __init__(self, model: nn.Module, optim: Optim, *, token_budget: int, meter: Meter) -> None:
        self.model = model.eval()
        self.optim = optim
        self.token_budget = token_budget
        self.meter = meter
        self.parameters = trainable(model)
        self.device = next(model.parameters()).device
        self.size = sum(parameter.numel() for parameter in model.parameters())
        betas = (optim.beta1, optim.beta2)
        self.optimizer = torch.optim.AdamW(  # `_update` sets the learning rate
            self.parameters.values(), betas=betas, eps=optim.eps, weight_decay=optim.weight_decay, fused=True
        )
        self.position = 0.0  # the position in the schedule; skipped updates do not advance it
        self.progress = 0.0
        self.skipped = 0
        self.updates = 0

    def step(
        self, batch: Any, loss: Callable[[Any], Terms], *, count: float, progress: float, guard: Guard | None = None
    ) -> dict[str, float]:
        """Makes one update from `batch`. Returns the averaged loss and stats, the gradient norm and the learning rate.

        `count`: the number of tokens whose mask is True, or the number of sequences, in the batch of this rank. The sum
        of the loss terms is divided by the sum of `count` over all ranks. `guard`: a function of the averaged stats,
        which is called before the update. If `guard` returns True, the update is skipped and counted as skipped, and
        the optimizer and the schedule do not change. Raises `FloatingPointError` if the loss or the gradient is not
        finite and `guard` does not skip the update.
        """
        count = dist.all_count(count)
        sums: dict[str, Tensor] = {}
        for rows in micro_batches(batch.lengths, self.token_budget):
            terms = loss(batch.select(rows).to(self.device))
            value = ops.reduce(terms.terms, terms.mask, count)
            value.backward()
            for name, stat in {"loss": terms.terms, **terms.stats}.items():
                part = ops.reduce(stat.detach(), terms.mask, count)
                sums[name] = sums.get(name, torch.zeros_like(part)) + part
        self.meter.trained(self.size, batch.tokens)
        stats = {name: float(dist.all_sum(value)) for name, value in sums.items()}
        delta, self.progress = progress - self.progress, progress
        if guard is not None and guard(stats):
            self.skipped += 1
            self.optimizer.zero_grad(set_to_none=True)
            return stats
        if not math.isfinite(stats["loss"]):
            raise FloatingPointError(f"The loss is {stats['loss']}.")
        self.position += delta
        return stats | self._update()

    def wait(self, progress: float) -> None:
        """Sets the progress of the run without an update. The position in the schedule does not change."""
        self.progress = progress

    def _update(self) -> dict[str, float]:
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self.optim.clip_norm or math.inf))
        if not math.isfinite(norm):
            raise FloatingPointError(f"The norm of the gradient is {norm}.")
        rate = self.optim.learning_rate * self.optim.factor(self.position, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.updates += 1
        self.optimizer.zero_grad(set_to_none=True)
        return {"gradient_norm": norm, "learning_rate": rate}

    def state_dict(self) -> dict[str, Any]:
        """Returns the weights, both moments of Adam, the counts of updates and the position in the schedule, as a tree
        for a checkpoint."""
        moments = self.optimizer.state
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        adam = {name: dict(moments[part]) for name, part in self.parameters.items() if part in moments}
        schedule = {"position": self.position, "progress": self.progress}
        return {"weights": weights, "adam": adam, **schedule, "skipped": self.skipped, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads the tree that `state_dict` returned. Raises `ValueError` or `KeyError` if the tree belongs to another
        model."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(require_tensor(state["weights"], name, parameter.shape))
        self.optimizer.state.clear()
        for name, moments in state.get("adam", {}).items():
            parameter = self.parameters[name]
            shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            self.optimizer.state[parameter] = {
                key: require_tensor(moments, key, shape).to(parameter.device) for key, shape in shapes.items()
            }
        self.position, self.progress = require_number(state, "position"), require_number(state, "progress")
        self.skipped, self.updates = require_count(state, "skipped"), require_count(state, "updates")
