"""Comparisons of what is computed on a policy's own answers: advantages, KL, clipped losses. See `comparisons`."""

from __future__ import annotations

import torch
from tests.parity.comparisons import Case, OutputPairs, opened, slopes_of
from torch import Tensor

from preflab import ops
from preflab.losses import policy

AVERAGES: dict[str, ops.LossAverage] = {"grpo": "sequence", "dapo": "token", "dr_grpo": "constant"}


def group_relative(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    normalise = settings["scale_rewards"] == "group"
    advantages = ops.group_relative(given["rewards"], settings["num_generations"], normalise=normalise)
    return {"advantages": (advantages, theirs["advantages"])}


def leave_one_out(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    rewards = given["rewards"]
    if settings["beta"]:
        kl = ops.kl_estimate(given["logprobs"], given["reference"], "k1")
        rewards = rewards - settings["beta"] * ops.sequence_sum(kl, given["mask"])
    return {"advantages": (ops.leave_one_out(rewards, settings["num_generations"]), theirs["advantages"])}


def averaged(terms: Tensor, mask: Tensor, average: ops.LossAverage, *, limit: int) -> Tensor:
    """A loss as the methods without a critic form it: weighted terms, reduced over tokens."""
    lengths, tokens = mask.sum(1), float(mask.sum())
    weights = ops.average_weights(lengths, average, mean_length=tokens / len(mask), limit=limit)
    return ops.reduce(terms * weights[:, None], mask, tokens)


def group_loss(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    advantages = ops.over_tokens(given["advantages"], mask)
    low, high = settings["epsilon"], settings.get("epsilon_high")
    terms = policy.ppo_policy_loss(logprobs, given["old"], advantages, clip=low, clip_high=high)
    if settings["beta"]:
        terms = terms + settings["beta"] * ops.kl_estimate(logprobs, given["reference"], "k3")
    limit = settings.get("max_completion_length", mask.shape[1])
    loss = averaged(terms, mask, AVERAGES[settings["loss_type"]], limit=limit)
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"])}


def leave_one_out_loss(case: Case) -> OutputPairs:
    """On the policy's own answers: the same gradient up to the constant that preflab divides by, here T."""
    given, theirs, _ = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    limit = mask.shape[1]
    terms = policy.ppo_policy_loss(logprobs, given["old"], ops.over_tokens(given["advantages"], mask), clip=0.2)
    loss = averaged(terms, mask, "constant", limit=limit)
    return {"slopes": (slopes_of(loss, logprobs)[0] * limit, theirs["slopes"])}


def overlong(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    penalty = ops.overlong(given["lengths"], limit=settings["max_completion_len"], window=settings["soft_punish_cache"])
    return {"penalty": (-penalty, theirs["penalty"])}


def kl(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    kl = ops.kl_estimate(given["logprobs"], given["reference"], settings["kl_estimator"])
    return {"kl": (kl[given["mask"]], theirs["kl"][given["mask"]])}


def token_rewards(case: Case) -> OutputPairs:
    """With TRL's extended mask, so that the last counted token is where TRL puts the score."""
    given, theirs, settings = opened(case)
    rewards = ops.token_rewards(given["scores"], given["kl"], given["extended_mask"], coefficient=settings["kl_coef"])
    return {"rewards": (rewards, theirs["rewards"])}


def gae(case: Case) -> OutputPairs:
    """With TRL's extended mask; no row is truncated, as TRL treats them."""
    given, theirs, settings = opened(case)
    values = torch.cat([given["values"], torch.zeros_like(given["values"][:, :1])], dim=1)
    finished = torch.zeros(len(values), dtype=torch.bool)
    estimate = ops.gae(
        given["rewards"], values, given["extended_mask"], finished, gamma=settings["gamma"], lam=settings["lam"]
    )
    return {
        "advantages": (estimate.advantages, theirs["advantages"]),
        "returns": (estimate.returns, theirs["returns"]),
    }


def whiten(case: Case) -> OutputPairs:
    """preflab divides by the standard deviation of the population, TRL by that of a sample: a factor of one number."""
    given, theirs, _ = opened(case)
    mask = given["mask"]
    count = mask.sum()
    whitened = ops.whiten(given["advantages"], mask) * ((count - 1) / count).sqrt()
    return {"whitened": (whitened[mask], theirs["whitened"][mask])}


def clipped_policy(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    terms = policy.ppo_policy_loss(logprobs, given["old"], given["advantages"], clip=settings["cliprange"])
    loss = ops.reduce(terms, mask, float(mask.sum()))
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"])}


def clipped_value(case: Case) -> OutputPairs:
    given, theirs, settings = opened(case)
    values, mask = given["values"].requires_grad_(), given["extended_mask"]
    terms = policy.ppo_value_loss(values, given["old_values"], given["returns"], clip=settings["cliprange_value"])
    loss = ops.reduce(terms, mask, float(mask.sum()))
    slopes = settings["vf_coef"] * slopes_of(loss, values)[0]
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes, theirs["slopes"])}
