"""Losses on K ranked answers to a prompt. Each loss takes log-probabilities and scores [B,K] and returns unreduced
terms [B].

RRHF uses only the order of the scores. PRO uses only the differences between the scores. The order of a prompt's
answers has no effect. Answers with equal scores are not compared with each other. If several answers share the highest
score, the SFT term is the mean over these answers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class RankedLogprobs(NamedTuple):
    """The inputs of ranking losses, all [B,K].

    `sums`: log pi(y|x), summed over the tokens of each answer; `lengths`: the number of tokens of each answer; `scores`:
    higher is better; `mask`: False at the empty cells of a prompt with fewer than K answers.
    """

    sums: Tensor
    lengths: Tensor
    scores: Tensor
    mask: Tensor

    @property
    def means(self) -> Tensor:
        """p_i = log pi(y_i|x) / |y_i|."""
        return self.sums / self.lengths.clamp(min=1)

    @property
    def gaps(self) -> Tensor:
        """r_k - r_i at [b,k,i] if answer i is worse than answer k, else 0: [B,K,K]."""
        gaps = (self.scores[:, :, None] - self.scores[:, None, :]).clamp(min=0.0)
        return torch.where(self.mask[:, :, None] & self.mask[:, None, :], gaps, torch.zeros_like(gaps))

    def of_best(self, values: Tensor) -> Tensor:
        """Returns the mean of `values` [B,K] over the answers with the highest score: [B]."""
        top = self.scores.masked_fill(~self.mask, -torch.inf).max(dim=1, keepdim=True).values
        best = (self.scores == top) & self.mask
        return torch.where(best, values, torch.zeros_like(values)).sum(dim=1) / best.sum(dim=1)


def rrhf_loss(ranked: RankedLogprobs, *, sft_coefficient: float = 1.0) -> Tensor:
    """L = sum_{r_i < r_j} max(0, p_i - p_j) - c p_best, with p_i = log pi(y_i|x) / |y_i| (Yuan et al. 2023, eq. 1-4).

    `sft_coefficient` c is 1, as in the paper. In equation 3, the SFT term is the sum of the best answer's token
    log-probabilities. The authors' program uses the mean of the token log-probabilities instead. This loss uses the
    mean too, so that both terms are in nats per token.

    Returns: [B].
    """
    p = ranked.means
    rises = (p[:, None, :] - p[:, :, None]).clamp(min=0.0)  # at [b,k,i]: max(0, p_i - p_k)
    hinge = torch.where(ranked.gaps > 0, rises, torch.zeros_like(rises)).sum(dim=(1, 2))
    return hinge - sft_coefficient * ranked.of_best(p)


def pro_loss(ranked: RankedLogprobs, *, scale: float = 1.0, sft_coefficient: float = 0.05) -> Tensor:
    """L = - sum_k log [ e^(p_k / T_k^k) / ( e^(p_k / T_k^k) + sum_{r_i < r_k} e^(p_i / T_k^i) ) ] - beta log pi(y_best|x).

    T_k^i = 1 / (r_k - r_i), T_k^k = min_i T_k^i, p_i = log pi(y_i|x) / |y_i|, beta = c (K - 1)^2 (Song et al. 2024). K
    is the number of answers to the prompt. `sft_coefficient` c is .05, as in the paper.

    `scale` multiplies the scores. Each temperature is the inverse of a gap between scores, so the units of the reward
    matter. An answer with the lowest score adds no term. If K = 2 and the gap is 1, the sum over k equals
    -log sigmoid(p_1 - p_2).

    Returns: [B].
    """
    p, gaps = ranked.means, scale * ranked.gaps
    own = p * gaps.max(dim=2).values
    others = (p[:, None, :] * gaps).masked_fill(gaps == 0, -torch.inf)
    contrast = torch.cat([own[:, :, None], others], dim=2).logsumexp(dim=2) - own
    beta = sft_coefficient * (ranked.mask.sum(dim=1) - 1) ** 2
    return contrast.sum(dim=1) - beta * ranked.of_best(ranked.sums)
