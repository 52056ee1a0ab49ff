"""REINFORCE++: a token's advantage is its return, normalised over the whole batch (Hu 2025).

The reward of token t is r_t = -beta [log pi - log ref](y_t). The reward of the last token also includes the score. The
advantage A_t is the sum of r_u over u >= t, normalised by the mean and the standard deviation over all tokens of the
rollout.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from preflab import ops
from preflab.errors import UserError
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize, on_policy_cost
from preflab.methods.shared.advantage import Assessed, improve
from preflab.methods.shared.rollout import require_whole_groups
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim


class ReinforcePP(Method):
    """The author uses one answer to each prompt, 256 answers and two updates in each step, beta .01 and learning rate
    5e-7. `group_baseline`: if true (REINFORCE++-baseline), the mean score of the answers to the same prompt is
    subtracted from each score. `group` must then be 2 or more. In the author's code, the KL penalty is a separate loss
    if this setting is on. In preflab, the KL penalty stays part of the reward.

    The docstring of `CriticFree` in `shared/advantage.py` explains the settings that all methods without a critic
    share."""

    kind: Literal["reinforce++"] = "reinforce++"
    keeps_reference = True
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 256
    mini_batches: Count = 2
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=5e-7)
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.01, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = 20.0
    reference_ema: Share = 0.0
    ratio_guard: Positive | None = 5.0
    group: Count = 1
    loss_average: ops.LossAverage = "token"
    truncated: Literal["score", "ignore"] = "score"
    group_baseline: bool = False

    _groups_are_whole = model_validator(mode="after")(require_whole_groups)

    @model_validator(mode="after")
    def _baseline_has_a_group(self) -> Self:
        if self.group_baseline and self.group < 2:
            raise UserError("group_baseline needs several answers to each prompt. Set `group` to 2 or more.")
        return self

    def train(self, parts: Parts) -> LanguageModel:
        return improve(self, parts, partial(normalise_returns, self))

    def cost(self, size: DataSize) -> Cost:
        return on_policy_cost(self.steps, self.rollouts, self.epochs)


def normalise_returns(spec: ReinforcePP, answers: Assessed) -> Tensor:
    """Returns the advantage of each token, [B,T]. The advantage is the sum of the rewards from this token to the last
    token of the answer, normalised over all tokens of the batch."""
    scores = ops.group_relative(answers.scores, spec.group, normalise=False) if spec.group_baseline else answers.scores
    rewards = ops.token_rewards(
        scores, answers.kl, answers.mask, coefficient=1.0
    )  # `kl` already includes the coefficient
    return ops.whiten(ops.returns_to_go(rewards, answers.mask), answers.mask)
