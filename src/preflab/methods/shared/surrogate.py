"""The clipped surrogate: the common part of the methods that improve a policy by policy gradients on its own rollouts.

PPO has a critic and a file of its own; GRPO, RLOO, REINFORCE++ and ReMax differ in their advantages alone (`advantage.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

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
from preflab.sampling.base import Decoding, Samples
from preflab.train.learner import Guard, Optim, Terms


class Surrogate(Protocol):
    """The settings that this module and the loops of the methods read. Each method states them, with its authors' values.

    `rollouts`: the number of responses in a step; the policy learns from them in `mini_batches` shuffled parts, `epochs`
    times. A compute budget overrides `steps`. `clip`, `clip_high`: see `actor_terms`. `reward_bias`, `reward_scale`,
    `reward_clip`: see `shape_scores`. `reference_ema`: the rate at which the reference follows the policy. `ratio_guard`:
    see `make_guard`. The value None turns off `reward_clip` or `ratio_guard`.
    """

    steps: int
    rollouts: int
    mini_batches: int
    epochs: int
    decoding: Decoding
    optim: Optim
    clip: float
    clip_high: float | None
    kl_coefficient: float
    reward_scale: float
    reward_bias: float
    reward_clip: float | None
    reference_ema: float
    ratio_guard: float | None


def shape_scores(spec: Surrogate, scores: Tensor) -> Tensor:
    """clip( (score - bias) * scale, +-clip ) (paper, Section 7 [ReaL]). If `reward_clip` is None, nothing is clipped."""
    limit = math.inf if spec.reward_clip is None else spec.reward_clip
    return ((scores - spec.reward_bias) * spec.reward_scale).clamp(-limit, limit)


def ask_old_and_reference(
    spec: Surrogate, parts: Parts, reference: Reference, samples: Samples
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the samples under the policy that drew them and under the reference, [B,T] each. Both are
    taken at the sampling temperature, over the ids that the sampler kept. The forward passes are charged."""
    old = samples.logprobs if samples.exact else _sampled_logprobs(spec, parts, samples)
    with reference.active():
        reference_logprobs = _sampled_logprobs(spec, parts, samples)
    parts.run.meter.forward(parts.policy.size, samples.batch.tokens * (1 if samples.exact else 2))
    return old, reference_logprobs


def _sampled_logprobs(spec: Surrogate, parts: Parts, samples: Samples) -> Tensor:
    model, temperature = parts.policy.model, spec.decoding.temperature

    def ask(rows: SampledBatch) -> Tensor:
        return forward.token_logprobs(model, rows.batch, temperature=temperature, kept=rows.kept).logprobs

    return forward.by_micro_batch(model, ask, SampledBatch(samples.batch, samples.kept), parts.token_budget)


def actor_terms(spec: Surrogate, policy: LanguageModel, rows: Experience, *, kl_loss: float = 0.0) -> Terms:
    """The policy loss's terms [B,T]. Logs the importance ratio, the share of ratios beyond the clip, the entropy, and the KL
    between the policy that drew the rollout and the current policy (k3).

    The ratio is clipped to [1 - clip, 1 + clip_high]; a `clip_high` of None stands for `clip`. If `kl_loss` is not 0, the
    loss has a further term, `kl_loss` times k3 against the reference (GRPO, Shao et al. 2024, eq. 4). This term has a
    gradient too.
    """
    temperature, clip = spec.decoding.temperature, spec.clip
    high = clip if spec.clip_high is None else spec.clip_high
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=clip, clip_high=high)
    if kl_loss:
        terms = terms + kl_loss * ops.kl_estimate(scored.logprobs, rows.reference_logprobs, "k3")
    ratio = torch.exp(scored.logprobs.detach() - rows.logprobs)
    assert scored.entropy is not None
    clipped = ((ratio < 1.0 - clip) | (ratio > 1.0 + high)).float()
    step_kl = ops.kl_estimate(rows.logprobs, scored.logprobs, "k3")
    stats = {"ratio": ratio, "clipped": clipped, "step_kl": step_kl, "entropy": scored.entropy}
    return Terms(terms, rows.batch.mask, stats)


def make_guard(limit: float | None) -> Guard:
    """Makes a guard that skips an update if the masked mean importance ratio of the mini-batch exceeds `limit`. If `limit`
    is None, the guard skips no update."""

    def skips(stats: Mapping[str, float]) -> bool:
        return limit is not None and stats["ratio"] > limit

    return skips


def measure_rollout(rollout: Rollout, logprobs: Tensor, reference_logprobs: Tensor) -> dict[str, float]:
    """The measures of the step's rollout, with three more. `reward_spread`: the standard deviation of the scores. `kl`: the
    mean over responses of sum_t log pi - log ref (k1, in nats). `kl_k3`: the k3 estimate of the same KL."""
    k1 = ops.kl_estimate(logprobs, reference_logprobs, "k1")
    k3 = ops.kl_estimate(logprobs, reference_logprobs, "k3")
    return rollout.measure() | {
        "reward_spread": float(rollout.scores.std(correction=0)),
        "kl": float(ops.sequence_sum(k1, rollout.batch.mask).mean()),
        "kl_k3": float(ops.sequence_sum(k3, rollout.batch.mask).mean()),
    }
