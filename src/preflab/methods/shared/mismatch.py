"""Measures how far the sampler's log-probabilities are from the learner's, and corrects for the difference.

A sampler that computes with other kernels or in another precision draws from a policy mu that differs from the
learner's policy pi_old, although both have the same weights. The policy-gradient methods then compute the
log-probabilities of the samples again with the learner, so that importance ratios start at 1, and measure the mismatch
in every step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from preflab import ops
from preflab.losses.policy import truncated_importance
from preflab.sampling.base import Samples


def measure_mismatch(samples: Samples, learner_logprobs: Tensor) -> dict[str, float]:
    """Returns measures of the mismatch for samples that are not exact, and an empty dictionary for exact samples.

    `mismatch_kl`: the k3 estimate of KL(mu || pi_old), as a mean over the answer tokens, in nats. `mismatch_ratio`: the
    largest pi_old / mu of a token. `mismatch_low`: the smallest. `importance_capped`: if the sampler sets an
    importance cap, the share of tokens whose ratio exceeds it.

    `learner_logprobs`: the learner's log-probabilities of the samples, [B,T].
    """
    if samples.exact:
        return {}
    mask = samples.batch.mask
    difference = (learner_logprobs - samples.logprobs)[mask]
    measures = {
        "mismatch_kl": float(ops.kl_estimate(samples.logprobs, learner_logprobs, "k3")[mask].mean()),
        "mismatch_ratio": float(difference.max().exp()),
        "mismatch_low": float(difference.min().exp()),
    }
    if samples.importance_cap is not None:
        measures["importance_capped"] = float((difference.exp() > samples.importance_cap).float().mean())
    return measures


def correction_weights(samples: Samples, learner_logprobs: Tensor) -> Tensor | None:
    """Returns the weights [B,T] of the truncated importance correction; None for exact samples, and for a sampler
    without an importance cap."""
    if samples.exact or samples.importance_cap is None:
        return None
    weights = truncated_importance(learner_logprobs, samples.logprobs, cap=samples.importance_cap)
    return torch.where(samples.batch.mask, weights, torch.ones_like(weights))
