"""RLOO: an answer is as good as it is above the mean of the *other* answers to its prompt (Ahmadian et al. 2024).

R_i = s_i - beta sum_t [log pi - log ref](y_it); A_i = R_i - mean_{j != i} R_j, at every token of the answer: the answer as
a whole is the action. The authors take one REINFORCE step; so does the clipped surrogate in its first mini-batch.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.critic_free import Assessed, CriticFree, improve
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim


class RLOO(CriticFree):
    """The authors' values on TL;DR: 4 answers a prompt, beta .03, learning rate 1e-6, 512 answers a step in two updates.
    `loss_average` constant: a sum over tokens, as the log-probability of an answer is, up to one factor."""

    kind: Literal["rloo"] = "rloo"
    mini_batches: Count = 2
    group: int = Field(default=4, ge=2)
    loss_average: ops.LossAverage = "constant"
    kl_coefficient: float = Field(default=0.03, ge=0)
    reward_clip: Positive | None = None
    reference_ema: Share = 0.0
    optim: Optim = Optim(learning_rate=1e-6)

    def train(self, parts: Parts) -> LanguageModel:
        return improve(self, parts, partial(left_out, self))

    def cost(self, size: DataSize) -> Cost:
        return on_policy_cost(self.steps, self.rollouts, self.epochs)


def left_out(spec: RLOO, found: Assessed) -> Tensor:
    """The leave-one-out advantage of each answer, its whole KL in its reward, at each of its tokens: [B,T]."""
    rewards = found.scores - ops.sequence_sum(found.kl, found.mask)
    return ops.over_tokens(ops.leave_one_out(rewards, spec.group), found.mask)
