"""RLOO: an answer's advantage is its reward minus the mean reward of the *other* answers (Ahmadian et al. 2024).

R_i = s_i - beta sum_t [log pi - log ref](y_it); A_i = R_i - mean_{j != i} R_j. Every token of an answer has the same
advantage, because the whole answer is one action. The authors make one REINFORCE update on each rollout. preflab uses
the clipped surrogate, which has the same gradient as REINFORCE in the first mini-batch of a rollout.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from preflab import ops
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.shared.advantage import Assessed, improve
from preflab.methods.shared.rollout import require_whole_groups
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim


class RLOO(Method):
    """On TL;DR the authors use 4 answers to each prompt, beta .03, learning rate 1e-6, and 512 answers and two updates
    in each step. By default, `loss_average` is "constant". The loss of an answer is then proportional to the sum of the
    losses of its tokens, not to their mean. This fits RLOO, because the log-probability of a whole answer is also a sum
    over its tokens.

    The docstring of `CriticFree` in `shared/advantage.py` explains the settings that all methods without a critic
    share."""

    kind: Literal["rloo"] = "rloo"
    keeps_reference = True
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 2
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-6)
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.03, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = None
    reference_ema: Share = 0.0
    ratio_guard: Positive | None = 5.0
    group: int = Field(default=4, ge=2)
    loss_average: ops.LossAverage = "constant"
    truncated: Literal["score", "ignore"] = "score"

    _groups_are_whole = model_validator(mode="after")(require_whole_groups)

    def train(self, parts: Parts) -> LanguageModel:
        return improve(self, parts, partial(gain_over_others, self))

    def cost(self, size: DataSize) -> Cost:
        return on_policy_cost(self.steps, self.rollouts, self.epochs)


def gain_over_others(spec: RLOO, answers: Assessed) -> Tensor:
    """Returns the leave-one-out advantages, [B,T]. All tokens of an answer have the same advantage. The reward of an
    answer is its score minus the KL penalties summed over its tokens."""
    rewards = answers.scores - ops.sequence_sum(answers.kl, answers.mask)
    return ops.over_tokens(ops.leave_one_out(rewards, spec.group), answers.mask)
