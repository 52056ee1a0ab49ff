"""The clipped surrogate: what every method has in common that improves a policy on its own rollouts by policy gradients.

PPO has a critic and a file of its own; GRPO, RLOO, REINFORCE++ and ReMax differ in their advantages alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from pydantic import Field

from preflab import ops
from preflab.batch import Experience
from preflab.errors import UserError
from preflab.losses.policy import ppo_policy_loss
from preflab.methods.base import Count, Method, Parts, Positive
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim, Terms
from preflab.train.run import Run
from preflab.types import Prompt

Share = Annotated[float, Field(ge=0, le=1)]


class Surrogate(Method):
    """The fields that these methods share. `rollouts`: responses a step, in `mini_batches` shuffled parts, `epochs` times.
    None turns a clip or the guard off. Under a compute budget `steps` gives way to it."""

    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    clip: Positive = 0.2
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.1, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = 20.0
    reference_ema: Share = 0.001
    ratio_guard: Positive | None = 5.0
    optim: Optim = Optim(learning_rate=1e-5)

    def too_far(self, stats: Mapping[str, float]) -> bool:
        """The guard: the mini-batch's masked mean importance ratio exceeds `ratio_guard`."""
        return self.ratio_guard is not None and stats["ratio"] > self.ratio_guard


def training_prompts(spec: Surrogate, parts: Parts) -> list[Prompt]:
    """The prompts to roll out on. Raises `UserError` where there is none, and for a policy that cannot sample."""
    if spec.decoding.temperature <= 0:
        raise UserError("The method samples from its policy: decoding.temperature must be above 0.")
    prompts = list(parts.testbed.prompts("train"))
    if not prompts:
        raise UserError("The testbed has no prompts to train on.")
    return prompts


def mini_batches(spec: Surrogate, run: Run, step: int, size: int) -> Iterator[list[int]]:
    """The rows of each mini-batch: every epoch a new shuffle, cut into `mini_batches` parts that differ by one at most."""
    parts = min(spec.mini_batches, size)
    for epoch in range(spec.epochs):
        order = run.shuffled(size, "mini-batches", step, epoch)
        yield from (order[part * size // parts : (part + 1) * size // parts] for part in range(parts))


def actor_terms(spec: Surrogate, policy: LanguageModel, rows: Experience) -> Terms:
    """The policy loss's terms [B,T], with the importance ratio, the clipped share and the step's own KL (k3)."""
    temperature = spec.decoding.temperature
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=spec.clip, clip_high=spec.clip_high)
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
