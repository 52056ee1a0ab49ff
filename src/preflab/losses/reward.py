"""Losses of reward models. Unreduced terms [B]."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """L_R = -log sigmoid( r(x,y_w) - r(x,y_l) ) (paper, Section 1). Scores [B] in, terms [B] out."""
    return -F.logsigmoid(chosen - rejected)
