"""The clipped surrogate loss and the other functions that all policy-gradient methods share.

The loop of PPO, which has a critic, is in `methods/ppo.py`. GRPO, RLOO, REINFORCE++ and ReMax share the loop in
`advantage.py`, and differ only in their advantages.
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
from preflab.methods.shared.mismatch import measure_mismatch
from preflab.methods.shared.rollout import Rollout
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding, Samples
from preflab.train.learner import Guard, Optim, Terms


class Surrogate(Protocol):
    """The settings that all policy-gradient methods have. The defaults of a method are the values of the method's
    authors.

    `rollouts`: the number of responses in a step. In each of `epochs` epochs, the policy trains on the responses in
    `mini_batches` shuffled mini-batches. If the run has a compute budget, `steps` is ignored. `clip`, `clip_high`: see
    `actor_terms`. `reward_bias`, `reward_scale`, `reward_clip`: see `shape_scores`. `reference_ema`: the rate at which
    the reference follows the policy. `ratio_guard`: see `make_guard`. The value None turns off `reward_clip` or
    `ratio_guard`.
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
    """Returns (score - bias) * scale, clipped to [-clip, clip] (Xu et al. 2024, Section 7, and their library ReaL). The
    settings are `reward_bias`, `reward_scale` and `reward_clip`. If `reward_clip` is None, the result is not
    clipped."""
    limit = math.inf if spec.reward_clip is None else spec.reward_clip
    return ((scores - spec.reward_bias) * spec.reward_scale).clamp(-limit, limit)


def ask_old_and_reference(
    spec: Surrogate, parts: Parts, reference: Reference, samples: Samples
) -> tuple[Tensor, Tensor]:
    """Returns the samples' log-probabilities under the policy that drew them and under the reference, [B,T] each. Both
    tensors are computed at the sampling temperature and normalised over the token ids that top-k and top-p kept.
    If the samples are not exact, the learner computes the first of them again, and the mismatch with the sampler is
    logged (see `measure_mismatch`). Charges the forward passes to the run's meter."""
    old = samples.logprobs
    if not samples.exact:
        old = _sampled_logprobs(spec, parts, samples)
        parts.run.record.log(measure_mismatch(samples, old))
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
    """Returns the unreduced policy loss of each token, [B,T]. Logs the importance ratio, the share of ratios outside
    the clip range, the entropy, and the KL between the policy that drew the rollout and the current policy (the k3
    estimate).

    The ratio is clipped to [1 - clip, 1 + clip_high]. If `clip_high` is None, `clip` is used instead. If `kl_loss` is
    not 0, `kl_loss` times the k3 estimate of the KL from the reference is added to the loss, with its gradient (GRPO,
    Shao et al. 2024, eq. 4). If the experience has importance weights, each token's surrogate is multiplied by its
    weight; the KL term is not.
    """
    temperature, clip = spec.decoding.temperature, spec.clip
    high = clip if spec.clip_high is None else spec.clip_high
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=clip, clip_high=high)
    if rows.weights is not None:
        terms = terms * rows.weights
    if kl_loss:
        terms = terms + kl_loss * ops.kl_estimate(scored.logprobs, rows.reference_logprobs, "k3")
    ratio = torch.exp(scored.logprobs.detach() - rows.logprobs)
    assert scored.entropy is not None
    clipped = ((ratio < 1.0 - clip) | (ratio > 1.0 + high)).float()
    step_kl = ops.kl_estimate(rows.logprobs, scored.logprobs, "k3")
    stats = {"ratio": ratio, "clipped": clipped, "step_kl": step_kl, "entropy": scored.entropy}
    return Terms(terms, rows.batch.mask, stats)


def make_guard(limit: float | None) -> Guard:
    """Makes a guard for `Learner.step`. The guard skips an update if the mean importance ratio over the answer tokens
    of the mini-batch exceeds `limit`. If `limit` is None, the guard skips no update."""

    def skips(stats: Mapping[str, float]) -> bool:
        return limit is not None and stats["ratio"] > limit

    return skips


def measure_rollout(rollout: Rollout, logprobs: Tensor, reference_logprobs: Tensor) -> dict[str, float]:
    """Returns the measures of `Rollout.measure`, and three more. `reward_spread`: the standard deviation of the scores.
    `kl`: the mean over responses of sum_t log pi - log ref (the k1 estimate, in nats). `kl_k3`: the k3 estimate of the
    same KL."""
    k1 = ops.kl_estimate(logprobs, reference_logprobs, "k1")
    k3 = ops.kl_estimate(logprobs, reference_logprobs, "k3")
    return rollout.measure() | {
        "reward_spread": float(rollout.scores.std(correction=0)),
        "kl": float(ops.sequence_sum(k1, rollout.batch.mask).mean()),
        "kl_k3": float(ops.sequence_sum(k3, rollout.batch.mask).mean()),
    }
