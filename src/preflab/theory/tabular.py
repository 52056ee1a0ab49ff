"""Computes with tabular policies: the optimum of a reward, the reward of a policy, both losses, and the KL.

Shapes: T problems, P prompts, K responses. A policy and the reference are log-probabilities [T,P,K]. Minus infinity
means probability zero. A reward is [T,P,K] and beta is [T]. `wins[t,p,i,j]` is the number of times that response i was
preferred to response j. All tensors are in float64.

The paper is Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".
"""

from __future__ import annotations

import torch
from torch import Tensor

from preflab.losses.preference import PairLogprobs, dpo_loss
from preflab.losses.reward import bradley_terry_loss


def optimum(rewards: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    """Returns the policy to which PPO converges (paper, Section 1).

    log pi*(y|x) = log pi_ref(y|x) + r(x,y)/beta - log Z(x).

    Args: rewards [T,P,K], finite; reference [T,P,K]; beta [T]. Returns: [T,P,K], minus infinity where pi_ref = 0.
    """
    return torch.log_softmax(reference + rewards / beta[:, None, None], dim=-1)


def implied_reward(policy: Tensor, reference: Tensor, beta: Tensor) -> Tensor:
    """Returns f(pi) = beta log(pi/pi_ref), a reward that has pi as its optimum (paper, Section 4.1).

    Where pi and pi_ref are both 0, f is set to 0, because the optimum does not depend on the reward of this response.
    Where pi > 0 and pi_ref = 0, f is infinite, because no reward has this policy as its optimum.

    Args: policy, reference [T,P,K]; beta [T]. Returns: [T,P,K].
    """
    both_zero = torch.isneginf(policy) & torch.isneginf(reference)
    return torch.where(both_zero, 0.0, beta[:, None, None] * (policy - reference))


def dpo_objective(policy: Tensor, reference: Tensor, wins: Tensor, beta: Tensor) -> Tensor:
    """Returns the mean over the pairs of -log sigmoid(beta [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)]).

    Args: policy, reference [T,P,K]; wins [T,P,K,K]; beta [T]. Returns: [T].
    """
    scale = beta[:, None, None]  # `dpo_loss` takes a single beta, but each problem has a different beta
    policy, reference = scale * policy, scale * reference
    sides = [side for values in (policy, reference) for side in (values[..., :, None], values[..., None, :])]
    pairs = PairLogprobs(*sides, chosen_lengths=torch.ones(()), rejected_lengths=torch.ones(()))
    return _mean(dpo_loss(pairs, beta=1.0), wins)


def reward_objective(rewards: Tensor, wins: Tensor) -> Tensor:
    """Returns the mean over the pairs of -log sigmoid(r(y_w) - r(y_l)): rewards [T,P,K], wins [T,P,K,K] -> [T]."""
    return _mean(bradley_terry_loss(rewards[..., :, None], rewards[..., None, :]), wins)


def _mean(terms: Tensor, wins: Tensor) -> Tensor:
    # For two responses that are not compared, the term can be nan (0/0). `where` is needed, because 0 times nan is nan.
    return torch.where(wins > 0, terms * wins, 0.0).sum((1, 2, 3)) / wins.sum((1, 2, 3))


def tabular_kl(policy: Tensor, other: Tensor) -> Tensor:
    """Returns KL(pi || other) = sum_y pi log(pi/other), for two policies [T,P,K]: [T,P].

    The KL is infinite if a response has pi > 0 and other = 0.
    """
    terms = torch.where(torch.isneginf(policy), 0.0, policy.exp() * (policy - other))
    return terms.sum(-1)


def move_mass(policy: Tensor, share: Tensor, onto: Tensor) -> Tensor:
    """Multiplies pi by 1 - share, then adds share to one response. The ratios between all other responses do not
    change.

    Args:
        policy: [T,P,K].
        share: [T], in (0,1).
        onto: Bool [T,P,K], True at the response that gains mass. At most one response of each prompt is True. In a
            prompt without such a response, the policy does not change.

    Returns: [T,P,K].
    """
    share = share[:, None, None]
    mass = torch.where(onto, share.log(), -torch.inf)
    return torch.where(onto.any(-1, keepdim=True), torch.logaddexp(policy + torch.log1p(-share), mass), policy)
