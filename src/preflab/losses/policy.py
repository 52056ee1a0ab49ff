"""Losses on single tokens, for policies and critics. The functions return unreduced terms [B,T]. The caller masks and
reduces the terms with `ops.reduce`."""

from __future__ import annotations

import torch
from torch import Tensor


def sft_loss(logprobs: Tensor) -> Tensor:
    """-log pi(y_t | x, y_<t): logprobs [B,T] -> [B,T]."""
    return -logprobs


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip: float, clip_high: float | None = None
) -> Tensor:
    """max( -A rho, -A clamp(rho, 1-clip, 1+clip_high) ), rho = exp(log pi - log pi_old) (Schulman et al. 2017, eq. 7).

    A `clip_high` above `clip` lets the probability of unlikely tokens rise further (DAPO, Yu et al. 2025, eq. 10). If
    `clip_high` is None, `clip` is used.

    Args:
        logprobs, old_logprobs, advantages: [B,T]; only `logprobs` has a gradient.

    Returns: [B,T].
    """
    ratio = torch.exp(logprobs - old_logprobs)
    high = 1.0 + (clip if clip_high is None else clip_high)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1.0 - clip, high))


def truncated_importance(old_logprobs: Tensor, sampler_logprobs: Tensor, *, cap: float) -> Tensor:
    """min( pi_old(y_t | x, y_<t) / mu(y_t | x, y_<t), cap ), the weight of token t that corrects a policy gradient for a
    sampler mu whose probabilities differ from the learner's pi_old, although their weights are the same (truncated
    importance sampling: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training";
    `rollout_is` in verl). Ionides 2008 analyses the truncation, which bounds the variance and adds a bias.

    Args:
        old_logprobs: [B,T], the learner's log-probabilities before the first update on these tokens.
        sampler_logprobs: [B,T], of the same tokens.

    Returns: [B,T], no gradient.
    """
    return torch.exp(old_logprobs - sampler_logprobs).clamp(max=cap).detach()


def ppo_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float | None) -> Tensor:
    """1/2 max( (V - R)^2, (V_old + clamp(V - V_old, -clip, clip) - R)^2 ). If `clip` is None: 1/2 (V - R)^2.

    Args:
        values, old_values, returns: [B,T], all in the critic's normalised units; only `values` has a gradient.

    Returns: [B,T]. Value-loss clipping: Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?", Section 4.
    """
    plain = (values - returns).square()
    if clip is None:
        return plain / 2
    clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns).square()
    return torch.maximum(plain, clipped) / 2
