"""Kahneman-Tversky optimisation (KTO): a loss on single answers, each labelled as desirable or undesirable. `kto_loss`
returns unreduced terms [B]."""

from __future__ import annotations

import torch
from torch import Tensor

from preflab import dist


def kto_reference_point(mismatched_ratios: Tensor) -> Tensor:
    """z0 = max( 0, mean_i log(pi/pi_ref)(y_j | x_i) ), j != i (Ethayarajh et al. 2024, Section 4.1).

    z0 estimates KL(pi || pi_ref). Each answer is joined with the prompt of a different answer. The estimate is
    therefore biased, but cheap: no answer has to be sampled from the policy. The mean is over the answers of all
    processes, and z0 has no gradient.

    Args: mismatched_ratios: [B], the summed log-ratio of each answer given the prompt of a different answer.

    Returns: a scalar, in nats, never negative.
    """
    total = dist.all_sum(mismatched_ratios.detach().double().sum())
    return (total / dist.all_count(len(mismatched_ratios))).clamp(min=0.0).to(mismatched_ratios.dtype)


def kto_loss(
    ratios: Tensor,
    desirable: Tensor,
    reference_point: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """L = w (1 - sigmoid( beta (r - z0) )) if the answer is desirable, else w (1 - sigmoid( beta (z0 - r) )).

    r = log(pi/pi_ref)(y|x) (Ethayarajh et al. 2024, eq. 8). The weight w is `desirable_weight` or `undesirable_weight`.
    The sigmoid saturates if r is far above or far below z0.

    Args:
        ratios: r, [B]; desirable: Bool[B]; reference_point: z0, a scalar (see `kto_reference_point`).

    Returns: [B]. Each term lies in [0, w], and is w/2 if r = z0.
    """
    gain = beta * (ratios - reference_point)
    return torch.where(desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain))
