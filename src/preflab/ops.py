"""Masked arithmetic, advantages, KL estimators and running moments. The functions work on tensors and do not use a
model.

Shapes follow `preflab.batch`: B rows, T response tokens. In each row, a mask is True up to the last token of the
response, and False after that token.

The paper is Xu et al. 2024, "Is DPO Superior to PPO for LLM Alignment?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from preflab import dist

KlEstimator = Literal["k1", "k2", "k3"]
LossAverage = Literal["sequence", "token", "constant"]


class Advantages(NamedTuple):
    """The advantages of the tokens and the critic's targets: `advantages[B,T]` and `returns[B,T]`. Advantages and
    returns are 0 where the mask is False."""

    advantages: Tensor
    returns: Tensor


def reduce(terms: Tensor, mask: Tensor | None, count: float) -> Tensor:
    """Returns sum(terms where the mask is True) / count. This is the only function that reduces the terms of a loss to
    a scalar.

    `count` is the global number of tokens or sequences, over all micro-batches and ranks. The gradient therefore does
    not depend on how a batch is cut into micro-batches or spread over ranks. Raises `ValueError` if `count` is 0 or
    less, because the loss mask is then empty.

    Args: `terms`: any shape; `mask`: Bool of the same shape. If `mask` is None, all terms are summed.

    Returns: a scalar.
    """
    if count <= 0:
        raise ValueError("The loss mask is empty: this batch has no token or sequence to train on.")
    kept = terms if mask is None else torch.where(mask, terms, torch.zeros_like(terms))
    return kept.sum() / count


def sequence_sum(terms: Tensor, mask: Tensor) -> Tensor:
    """Returns the sum over t of terms[b,t] where mask[b,t] is True: [B]."""
    return torch.where(mask, terms, torch.zeros_like(terms)).sum(dim=1)


def order_accuracy(margins: Tensor, *, rounding: Tensor | float = 0.0) -> Tensor:
    """Returns 1 for a margin above `rounding`, 0 for a margin below -`rounding`, and 1/2 for every other margin, which
    counts as a tie.

    A model that cannot distinguish the answers has a mean of 1/2, which is chance level. Margins may have any shape;
    the result has the same shape, in float32.
    """
    return (margins > rounding).float() + 0.5 * (margins.abs() <= rounding).float()


def masked_moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean and the (population) variance of all values whose mask is True, on all ranks, as two scalars in
    float64.

    Raises `ValueError` if the mask is False everywhere. The mean would be NaN, and a running mean that uses this mean
    would stay NaN.
    """
    kept = values[mask].double()
    sums = dist.all_sum(torch.stack([torch.ones_like(kept).sum(), kept.sum(), kept.square().sum()]))
    if not sums[0] > 0:
        raise ValueError("The mask is empty: it selects no value of this batch.")
    mean = sums[1] / sums[0]
    return mean, (sums[2] / sums[0] - mean.square()).clamp(min=0.0)


def whiten(values: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Returns (values - mean) / std, with mean and std over all values whose mask is True, on all ranks (paper, Section
    5).

    Args: values, mask [B,T]. Returns: [B,T], 0 where the mask is False.
    """
    mean, variance = masked_moments(values, mask)
    scaled = (values - mean.to(values.dtype)) / (variance.sqrt() + eps).to(values.dtype)
    return torch.where(mask, scaled, torch.zeros_like(scaled))


def last_token(mask: Tensor) -> Tensor:
    """Returns Bool[B,T]: in each row, True only at the last token whose mask is True."""
    following = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    return mask & ~following


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, *, coefficient: float) -> Tensor:
    """Returns r[b,t] = -coefficient * kl[b,t], plus scores[b] on the last token of the response (paper, Section 1):
    [B,T].

    `scores`: [B], with 0 for a row that was truncated and not scored. `kl`: [B,T].
    """
    penalty = torch.where(mask, -coefficient * kl, torch.zeros_like(kl))
    return penalty + torch.where(last_token(mask), scores[:, None], torch.zeros_like(kl))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, truncated: Tensor, *, gamma: float, lam: float) -> Advantages:
    """Computes generalised advantage estimates (Schulman et al. 2016, eq. 16) over response tokens.

    delta_t = r_t + gamma V_{t+1} - V_t,  A_t = delta_t + gamma lam A_{t+1},  return_t = A_t + V_t.

    After the last token of the response, V is `values[b,n_b]` if the response was truncated, and 0 if the response is
    complete. The arguments are not modified.

    Args: rewards, mask [B,T]; values [B,T+1]; truncated Bool[B].
    """
    ends = last_token(mask) & ~truncated[:, None]
    following = torch.where(ends, torch.zeros_like(rewards), values[:, 1:])
    deltas = torch.where(mask, rewards + gamma * following - values[:, :-1], torch.zeros_like(rewards))
    advantages = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    returns = torch.where(mask, advantages + values[:, :-1], torch.zeros_like(advantages))
    return Advantages(advantages, returns)


def group_relative(scores: Tensor, group: int, *, normalise: bool, eps: float = 1e-4) -> Tensor:
    """Returns A_i = (s_i - mean of the group) / (std of the group + eps) (GRPO, Shao et al. 2024, Section 4.1.2).

    Without `normalise`, A_i is only the difference s_i - mean of the group (Dr. GRPO, Liu et al. 2025, eq. 4). The std
    is the sample standard deviation, with n - 1 in the denominator.

    Args:
        scores: [B]. Each prompt has `group` answers, in consecutive rows.

    Returns: [B]. If all scores of a group are equal, every A_i of the group is 0.
    """
    rows = scores.double().view(-1, group)
    centred = rows - rows.mean(dim=1, keepdim=True)
    if normalise:
        centred = centred / (rows.std(dim=1, keepdim=True) + eps)
    return centred.flatten().to(scores.dtype)


def leave_one_out(scores: Tensor, group: int) -> Tensor:
    """Returns A_i = s_i - mean_{j != i} s_j over the answers to the same prompt (RLOO, Ahmadian et al. 2024, Section
    3).

    Args:
        scores: [B]. Each prompt has `group` answers, in consecutive rows.

    Returns: [B].
    """
    rows = scores.double().view(-1, group)
    others = (rows.sum(dim=1, keepdim=True) - rows) / (group - 1)
    return (rows - others).flatten().to(scores.dtype)


def over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """Returns values[b] at every token of row b whose mask is True, and 0 at all other tokens: [B,T]."""
    return torch.where(mask, values[:, None], torch.zeros_like(values[:, None]))


def returns_to_go(rewards: Tensor, mask: Tensor) -> Tensor:
    """Returns G_t = sum of r_u over the steps u >= t at which the mask is True, without discount: [B,T]."""
    kept = torch.where(mask, rewards, torch.zeros_like(rewards))
    return torch.where(mask, kept.flip(1).cumsum(1).flip(1), torch.zeros_like(kept))


def overlong(lengths: Tensor, *, limit: int, window: int) -> Tensor:
    """Measures how far an answer reaches into the last `window` tokens before its length limit `limit`: lengths [B] ->
    [B].

    The measure is (|y| - (limit - window)) / window, clipped to [0,1]. DAPO's soft overlong punishment is the negative
    of this measure (Yu et al. 2025, eq. 13).
    """
    return ((lengths - (limit - window)).float() / window).clamp(0.0, 1.0)


def average_weights(lengths: Tensor, average: LossAverage, *, mean_length: float, limit: int) -> Tensor:
    """Returns the weight w_b of each sequence for the chosen `average`: lengths [B] -> [B]. If each term is multiplied
    by the weight of its sequence, the mean of the products over all *tokens* of a batch is the average that `average`
    names:

    The batch has N sequences of n_b tokens. M = `mean_length` = sum n_b / N is the mean length over all micro-batches
    and ranks.
    `token`: the sum of the terms / sum n_b, with w = 1.
    `sequence`: the mean over sequences of the mean within each sequence (GRPO), with w_b = M / n_b.
    `constant`: the sum of the terms / (N `limit`), with w = M / `limit`. Here `limit` is the largest allowed length of an
    answer, so that a token's weight does not depend on the answer's length (Dr. GRPO).
    """
    if average == "token":
        return torch.ones_like(lengths, dtype=torch.float32)
    if average == "sequence":
        return mean_length / lengths.float()
    return torch.full_like(lengths, mean_length / limit, dtype=torch.float32)


def kl_estimate(logprobs: Tensor, reference: Tensor, estimator: KlEstimator) -> Tensor:
    """Estimates KL(pi || ref) at each token, from tokens drawn from pi (Schulman 2020), with d = log pi - log ref:

    k1 = d (unbiased); k2 = d^2 / 2 (biased, low variance); k3 = exp(-d) - 1 + d (unbiased, never negative).
    As a *reward*, only k1 gives the gradient of the objective; k2 and k3 give a biased gradient. Use k3 for logging.

    Args: logprobs, reference, both of the same shape. Returns: a tensor of that shape, in nats.
    """
    difference = logprobs - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return torch.expm1(-difference) + difference


def exact_kl(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Returns sum_v pi(v) (log pi(v) - log ref(v)) from log-probabilities over the whole vocabulary [N,V]: [N], in
    nats."""
    return (logprobs.exp() * (logprobs - reference)).sum(dim=-1)


class RunningMoments:
    """Exponential running mean and standard deviation, with Adam's bias correction, as in ReaL, the paper's library
    (Section 7).

    For values with mean a and mean square q, an update with the decay d is m <- d m + (1-d) a, s <- d s + (1-d) q,
    w <- d w + (1-d). At the start, m, s and w are 0. The results are mean = m/w and std = sqrt(s/w - mean^2).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean_sum = self.square_sum = self.weight = 0.0

    @property
    def mean(self) -> float:
        return self.mean_sum / self.weight if self.weight else 0.0

    @property
    def std(self) -> float:
        """The running standard deviation, at least 1e-4. Before the first update, it is 1."""
        if not self.weight:
            return 1.0
        return max(self.square_sum / self.weight - self.mean**2, 1e-8) ** 0.5

    def update(self, values: Tensor, mask: Tensor) -> None:
        """Updates the moments with all values whose mask is True, on all ranks."""
        mean, variance = (float(moment) for moment in masked_moments(values, mask))
        keep = self.decay
        self.mean_sum = keep * self.mean_sum + (1 - keep) * mean
        self.square_sum = keep * self.square_sum + (1 - keep) * (variance + mean**2)
        self.weight = keep * self.weight + (1 - keep)

    def normalise(self, values: Tensor) -> Tensor:
        """Returns (values - mean) / std."""
        return (values - self.mean) / self.std

    def restore(self, values: Tensor) -> Tensor:
        """Returns values * std + mean, the inverse of `normalise`."""
        return values * self.std + self.mean

    def state_dict(self) -> dict[str, Any]:
        return {"mean_sum": self.mean_sum, "square_sum": self.square_sum, "weight": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean_sum, self.square_sum = float(state["mean_sum"]), float(state["square_sum"])
        self.weight = float(state["weight"])
