"""The clipped surrogate: what every method has in common that improves a policy on its own rollouts by policy gradients.

PPO has a critic and a file of its own; GRPO, RLOO, REINFORCE++ and ReMax differ in their advantages alone (`advantage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from preflab import ops
from preflab.batch import Experience, SampledBatch
from preflab.losses.policy import ppo_policy_loss
from preflab.methods.base import Parts
from preflab.methods.shared.rollout import Rollout
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Samples
from preflab.train.learner import Terms


def shape_scores(scores: Tensor, *, bias: float, scale: float, clip: float | None) -> Tensor:
    """clip( (score - bias) * scale, +-clip ) (paper, Section 7 [ReaL]). None: no clip."""
    limit = math.inf if clip is None else clip
    return ((scores - bias) * scale).clamp(-limit, limit)


def ask_old_and_reference(
    parts: Parts, policy: LanguageModel, reference: Reference, samples: Samples, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the samples under the policy that drew them, and under the reference: [B,T] each; charged.
    At the sampling temperature, over the ids that the sampler kept."""
    ask = partial(_sampled_logprobs, samples=samples, temperature=temperature, token_budget=parts.token_budget)
    old = samples.logprobs if samples.exact else ask(policy.model)
    with reference.active() as model:
        reference_logprobs = ask(model)
    parts.run.meter.forward(policy.size, samples.batch.tokens * (1 if samples.exact else 2))
    return old, reference_logprobs


def _sampled_logprobs(model: Any, samples: Samples, *, temperature: float, token_budget: int) -> Tensor:
    def ask(rows: SampledBatch) -> Tensor:
        return forward.token_logprobs(model, rows.batch, temperature=temperature, kept=rows.kept).logprobs

    return forward.by_micro_batch(model, ask, SampledBatch(samples.batch, samples.kept), token_budget)


def actor_terms(
    policy: LanguageModel,
    rows: Experience,
    *,
    clip: float,
    clip_high: float | None,
    temperature: float,
    kl_loss: float = 0.0,
) -> Terms:
    """The policy loss's terms [B,T], with the importance ratio, the clipped share and the step's own KL (k3).

    The ratio is clipped to [1 - clip, 1 + clip_high], `clip_high` None being `clip`. `kl_loss` times k3 against the
    reference is added (GRPO, Shao et al. 2024, eq. 4); it carries a gradient.
    """
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=clip, clip_high=clip_high)
    if kl_loss:
        terms = terms + kl_loss * ops.kl_estimate(scored.logprobs, rows.reference_logprobs, "k3")
    ratio = torch.exp(scored.logprobs.detach() - rows.logprobs)
    assert scored.entropy is not None
    high = clip if clip_high is None else clip_high
    stats = {
        "ratio": ratio,
        "clipped": ((ratio < 1.0 - clip) | (ratio > 1.0 + high)).float(),
        "step_kl": ops.kl_estimate(rows.logprobs, scored.logprobs, "k3"),
        "entropy": scored.entropy,
    }
    return Terms(terms, rows.batch.mask, stats)


def make_guard(limit: float | None) -> Callable[[Mapping[str, float]], bool]:
    """Whether an update must be skipped: the mini-batch's masked mean importance ratio exceeds `limit` (None: never)."""

    def skips(stats: Mapping[str, float]) -> bool:
        return limit is not None and stats["ratio"] > limit

    return skips


def measure_rollout(rollout: Rollout, logprobs: Tensor, reference_logprobs: Tensor) -> dict[str, float]:
    """What the step's rollout looked like. `reward`: the mean score as the reward gave it; `kl`: the mean over responses
    of sum_t log pi - log ref (k1, nats), `kl_k3` its k3 estimate."""
    batch = rollout.batch
    k1 = ops.kl_estimate(logprobs, reference_logprobs, "k1")
    k3 = ops.kl_estimate(logprobs, reference_logprobs, "k3")
    return {
        "reward": float(rollout.scores.mean()),
        "reward_spread": float(rollout.scores.std(correction=0)),
        "kl": float(ops.sequence_sum(k1, batch.mask).mean()),
        "kl_k3": float(ops.sequence_sum(k3, batch.mask).mean()),
        "length": float(batch.completion_lengths.float().mean()),
        "truncated": float(batch.truncated.float().mean()),
    }
