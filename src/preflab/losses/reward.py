"""Losses of reward models. Unreduced terms [B]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def bradley_terry_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    shift: Tensor | None = None,
    probability: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """L_R = -q log sigmoid(z) - (1 - q) log sigmoid(-z), z = r(x,y_w) - r(x,y_l) + shift; plain: q = 1, no shift.

    The paper's loss is -log sigmoid(z) (Section 1). `shift` = -m requires a margin m (Touvron et al. 2023, eq. 2); `shift` =
    phi x adds a covariate to the scores (see `length_covariate`). `probability` p: that of the label being right;
    `smoothing` e: the assumed share of wrong labels (Szegedy et al. 2016): q = (1 - e) p + e (1 - p).

    Args:
        chosen, rejected, shift, probability: [B].

    Returns: [B]; the minimum is at z = log(q / (1 - q)).
    """
    z = chosen - rejected if shift is None else chosen - rejected + shift
    doubt = doubts(z, probability, smoothing)
    return -F.logsigmoid(z) + doubt * z  # log sigmoid(-z) = log sigmoid(z) - z


def doubts(like: Tensor, probability: Tensor | None, smoothing: float) -> Tensor:
    """1 - q = (1 - e) (1 - p) + e p: the probability of the other order, [B]; p is 1 where `probability` is None.

    `like`: any tensor [B] of the wanted type and device.
    """
    sure = torch.ones_like(like) if probability is None else probability.to(like.dtype)
    return (1.0 - smoothing) * (1.0 - sure) + smoothing * sure


def length_covariate(chosen_lengths: Tensor, rejected_lengths: Tensor, spread: float) -> Tensor:
    """x = tanh( (|y_w| - |y_l|) / s ), s the standard deviation of the difference over the data: [B] in (-1, 1).

    Length-controlled AlpacaEval (Dubois et al. 2024) fits sigmoid(quality + phi x) to the preferences and reports the
    quality at x = 0. Here a reward model stands for the quality.
    """
    return torch.tanh((chosen_lengths - rejected_lengths).float() / spread)
