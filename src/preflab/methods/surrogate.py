"""The clipped surrogate: what every method has in common that improves a policy on its own rollouts by policy gradients.

PPO has a critic and a file of its own; GRPO, RLOO, REINFORCE++ and ReMax differ in their advantages alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field

from preflab import ops
from preflab.batch import Experience
from preflab.fields import Positive, Share
from preflab.losses.policy import ppo_policy_loss
from preflab.methods.rollout import OnPolicy
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Terms


class Surrogate(OnPolicy):
    """The fields that these methods share. None turns a clip or the guard off."""

    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.1, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = 20.0
    reference_ema: Share = 0.001
    ratio_guard: Positive | None = 5.0

    def too_far(self, stats: Mapping[str, float]) -> bool:
        """The guard: the mini-batch's masked mean importance ratio exceeds `ratio_guard`."""
        return self.ratio_guard is not None and stats["ratio"] > self.ratio_guard


def actor_terms(spec: Surrogate, policy: LanguageModel, rows: Experience, *, kl_loss: float = 0.0) -> Terms:
    """The policy loss's terms [B,T], with the importance ratio, the clipped share and the step's own KL (k3).

    `kl_loss` times k3 against the reference is added (GRPO, Shao et al. 2024, eq. 4); it carries a gradient.
    """
    temperature = spec.decoding.temperature
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=spec.clip, clip_high=spec.clip_high)
    if kl_loss:
        terms = terms + kl_loss * ops.kl_estimate(scored.logprobs, rows.reference_logprobs, "k3")
    ratio = torch.exp(scored.logprobs.detach() - rows.logprobs)
    assert scored.entropy is not None
    high = spec.clip if spec.clip_high is None else spec.clip_high
    stats = {
        "ratio": ratio,
        "clipped": ((ratio < 1.0 - spec.clip) | (ratio > 1.0 + high)).float(),
        "step_kl": ops.kl_estimate(rows.logprobs, scored.logprobs, "k3"),
        "entropy": scored.entropy,
    }
    return Terms(terms, rows.batch.mask, stats)
