"""Comparisons of what is computed on a policy's own answers: advantages, KL, clipped losses. See `comparisons`."""

from __future__ import annotations

import torch
from tests.parity.comparisons import Case, Found, opened, slopes_of
from torch import Tensor

from preflab import ops
from preflab.losses import policy

AVERAGES: dict[str, ops.LossAverage] = {"grpo": "sequence", "dapo": "token", "dr_grpo": "constant"}


def group_relative(case: Case) -> Found:
    given, theirs, told = opened(case)
    normalise = told["scale_rewards"] == "group"
    found = ops.group_relative(given["rewards"], told["num_generations"], normalise=normalise)
    return {"advantages": (found, theirs["advantages"])}


def leave_one_out(case: Case) -> Found:
    given, theirs, told = opened(case)
    rewards = given["rewards"]
    if told["beta"]:
        kl = ops.kl_estimate(given["logprobs"], given["reference"], "k1")
        rewards = rewards - told["beta"] * ops.sequence_sum(kl, given["mask"])
    return {"advantages": (ops.leave_one_out(rewards, told["num_generations"]), theirs["advantages"])}


def averaged(terms: Tensor, mask: Tensor, average: ops.LossAverage, *, limit: int) -> Tensor:
    """A loss as the methods without a critic form it: weighted terms, reduced over tokens."""
    lengths, tokens = mask.sum(1), float(mask.sum())
    weights = ops.average_weights(lengths, average, mean_length=tokens / len(mask), limit=limit)
    return ops.reduce(terms * weights[:, None], mask, tokens)


def group_loss(case: Case) -> Found:
    given, theirs, told = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    advantages = ops.over_tokens(given["advantages"], mask)
    low, high = told["epsilon"], told.get("epsilon_high")
    terms = policy.ppo_policy_loss(logprobs, given["old"], advantages, clip=low, clip_high=high)
    if told["beta"]:
        terms = terms + told["beta"] * ops.kl_estimate(logprobs, given["reference"], "k3")
    limit = told.get("max_completion_length", mask.shape[1])
    loss = averaged(terms, mask, AVERAGES[told["loss_type"]], limit=limit)
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"])}


def leave_one_out_loss(case: Case) -> Found:
    """On the policy's own answers: the same gradient up to the constant that preflab divides by, here T."""
    given, theirs, _ = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    limit = mask.shape[1]
    terms = policy.ppo_policy_loss(logprobs, given["old"], ops.over_tokens(given["advantages"], mask), clip=0.2)
    loss = averaged(terms, mask, "constant", limit=limit)
    return {"slopes": (slopes_of(loss, logprobs)[0] * limit, theirs["slopes"])}


def overlong(case: Case) -> Found:
    given, theirs, told = opened(case)
    found = ops.overlong(given["lengths"], limit=told["max_completion_len"], window=told["soft_punish_cache"])
    return {"penalty": (-found, theirs["penalty"])}


def kl(case: Case) -> Found:
    given, theirs, told = opened(case)
    found = ops.kl_estimate(given["logprobs"], given["reference"], told["kl_estimator"])
    return {"kl": (found[given["mask"]], theirs["kl"][given["mask"]])}


def token_rewards(case: Case) -> Found:
    """With TRL's extended mask, so that the last counted token is where TRL puts the score."""
    given, theirs, told = opened(case)
    found = ops.token_rewards(given["scores"], given["kl"], given["extended_mask"], coefficient=told["kl_coef"])
    return {"rewards": (found, theirs["rewards"])}


def gae(case: Case) -> Found:
    """With TRL's extended mask; no row is truncated, as TRL treats them."""
    given, theirs, told = opened(case)
    values = torch.cat([given["values"], torch.zeros_like(given["values"][:, :1])], dim=1)
    finished = torch.zeros(len(values), dtype=torch.bool)
    found = ops.gae(given["rewards"], values, given["extended_mask"], finished, gamma=told["gamma"], lam=told["lam"])
    return {
        "advantages": (found.advantages, theirs["advantages"]),
        "returns": (found.returns, theirs["returns"]),
    }


def whiten(case: Case) -> Found:
    """preflab divides by the standard deviation of the population, TRL by that of a sample: a factor of one number."""
    given, theirs, _ = opened(case)
    mask = given["mask"]
    count = mask.sum()
    found = ops.whiten(given["advantages"], mask) * ((count - 1) / count).sqrt()
    return {"whitened": (found[mask], theirs["whitened"][mask])}


def clipped_policy(case: Case) -> Found:
    given, theirs, told = opened(case)
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"]
    terms = policy.ppo_policy_loss(logprobs, given["old"], given["advantages"], clip=told["cliprange"])
    loss = ops.reduce(terms, mask, float(mask.sum()))
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes_of(loss, logprobs)[0], theirs["slopes"])}


def clipped_value(case: Case) -> Found:
    given, theirs, told = opened(case)
    values, mask = given["values"].requires_grad_(), given["extended_mask"]
    terms = policy.ppo_value_loss(values, given["old_values"], given["returns"], clip=told["cliprange_value"])
    loss = ops.reduce(terms, mask, float(mask.sum()))
    slopes = told["vf_coef"] * slopes_of(loss, values)[0]
    return {"loss": (loss, theirs["loss"]), "slopes": (slopes, theirs["slopes"])}
