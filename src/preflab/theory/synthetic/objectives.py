"""Defines the objectives that the methods minimise, for one seed.

All methods start from pi_ref, and use the losses of `preflab.losses`. With eight responses, every expectation over the
policy is an exact sum. The on-policy methods therefore behave as if they drew infinitely many rollouts. The other parts
of these methods (old and new policy, clipping, normalised advantages) are unchanged. The methods need no critic,
because V(x) = E_{y~pi_old}[reward] is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from preflab import ops
from preflab.losses.policy import ppo_policy_loss, sft_loss
from preflab.losses.preference import PairLogprobs, dpo_loss, ipo_loss
from preflab.losses.reward import bradley_terry_loss
from preflab.theory.synthetic.networks import Objective
from preflab.theory.synthetic.scenario import ComparedPairs

CLIP = 0.2
BEST_OF = 8
_EPS = 1e-8


class Known(NamedTuple):
    """The pairs, the reference and the reward of a seed.

    `reference[X,Y]` is log pi_ref. `reward[X,Y]` is the learned reward, or 0 if no reward has been learned yet.
    """

    pairs: ComparedPairs
    reference: Tensor
    reward: Tensor


def reward_model_objective(table: Tensor, old: Tensor, known: Known) -> Tensor:
    """Returns the mean over pairs of the Bradley-Terry loss (paper, Section 1). `table`: rewards [X,Y]."""
    prompt, better, worse = known.pairs
    return bradley_terry_loss(table[prompt, better], table[prompt, worse]).mean()


def sft_objective(table: Tensor, old: Tensor, known: Known) -> Tensor:
    """Returns the mean over pairs of -log pi of the preferred response."""
    return sft_loss(table[known.pairs.prompt, known.pairs.better]).mean()


def preference_objective(
    table: Tensor, old: Tensor, known: Known, *, loss: Callable[..., Tensor], beta: float
) -> Tensor:
    """Returns the mean over pairs of a loss from `losses.preference`. Every response counts as one token."""
    return loss(_pairs(table, known), beta=beta).mean()


def dpo_with_kl_objective(table: Tensor, old: Tensor, known: Known, *, beta: float) -> Tensor:
    """Returns L_DPO + beta E_x KL(pi || pi_ref): DPO plus PPO's explicit KL penalty over all responses."""
    return dpo_loss(_pairs(table, known), beta=beta).mean() + beta * ops.exact_kl(table, known.reference).mean()


def ppo_objective(table: Tensor, old: Tensor, known: Known, *, beta: float) -> Tensor:
    """Returns the clipped surrogate of PPO, with the reward r - beta (log pi_old - log pi_ref).

    The advantages are normalised over all prompts. Unlike in `ops.whiten`, each response has the weight pi_old(y|x).
    """
    centred = _centred(known.reward - beta * ops.kl_estimate(old, known.reference, "k1"), old)
    advantages = centred / (_expected(centred.square(), old).mean().sqrt() + _EPS)
    return _expected(ppo_policy_loss(table, old, advantages, clip=CLIP), old).mean()


def grpo_objective(table: Tensor, old: Tensor, known: Known, *, beta: float) -> Tensor:
    """Returns the clipped surrogate plus beta times the mean of k3(pi, pi_ref) under pi_old.

    Rewards are standardised for each prompt (Shao et al. 2024, eq. 3-4, with an infinite group). If k3 is used as a
    loss, it pulls pi towards pi_ref by the *forward* KL.
    """
    centred = _centred(known.reward, old)
    advantages = centred / (_expected(centred.square(), old).sqrt() + _EPS)[..., None]
    terms = ppo_policy_loss(table, old, advantages, clip=CLIP)
    return _expected(terms + beta * ops.kl_estimate(table, known.reference, "k3"), old).mean()


def raft_objective(table: Tensor, old: Tensor, known: Known) -> Tensor:
    """Returns the SFT loss on the best of `BEST_OF` responses drawn from pi_old, without a KL term (Dong et al. 2023).

    The best response is the response with the highest learned reward.
    """
    return (best_of_n_probabilities(old, known.reward, BEST_OF) * sft_loss(table)).sum(-1).mean()


def best_of_n_probabilities(logprobs: Tensor, reward: Tensor, n: int) -> Tensor:
    """Returns P(y is the best of n draws) = (F(y)^n - F_<(y)^n) pi(y) / (F(y) - F_<(y)): [X,Y].

    F(y) = pi(reward <= reward(y)), F_<(y) = pi(reward < reward(y)). Ties are broken at random.
    """
    probabilities = logprobs.exp()
    at_most = torch.where(reward[..., None, :] <= reward[..., None], probabilities[..., None, :], 0.0).sum(-1)
    below = torch.where(reward[..., None, :] < reward[..., None], probabilities[..., None, :], 0.0).sum(-1)
    tied = torch.where(reward[..., None, :] == reward[..., None], probabilities[..., None, :], 0.0).sum(-1)
    return (at_most.pow(n) - below.pow(n)) * probabilities / tied.clamp(min=torch.finfo(tied.dtype).tiny)


def exact_optimum(reference: Tensor, reward: Tensor, *, beta: float) -> Tensor:
    """Returns log pi*, with pi*(y|x) = pi_ref(y|x) exp(r(x,y) / beta) / Z(x) (paper, Section 1): [...,X,Y]."""
    return F.log_softmax(reference + reward / beta, dim=-1)


def trained_methods(beta: float) -> dict[str, Objective]:
    """Maps the name of every trained method to the method's objective. Tables and figures show these names."""
    return {
        "PPO": partial(ppo_objective, beta=beta),
        "DPO": partial(preference_objective, loss=dpo_loss, beta=beta),
        "IPO": partial(preference_objective, loss=ipo_loss, beta=beta),
        "DPO + KL": partial(dpo_with_kl_objective, beta=beta),
        "GRPO": partial(grpo_objective, beta=beta),
        "RAFT": raft_objective,
    }


def _pairs(table: Tensor, known: Known) -> PairLogprobs:
    prompt, better, worse = known.pairs
    pairs = [values[prompt, side] for values in (table, known.reference) for side in (better, worse)]
    lengths = torch.ones_like(prompt)
    return PairLogprobs(*pairs, chosen_lengths=lengths, rejected_lengths=lengths)


def _expected(values: Tensor, logprobs: Tensor) -> Tensor:
    return (logprobs.exp() * values).sum(-1)


def _centred(values: Tensor, logprobs: Tensor) -> Tensor:
    return values - _expected(values, logprobs)[..., None]
