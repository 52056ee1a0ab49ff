"""Makes linear score heads for reward models that other packages trained. Such a head has a bias. It computes the score
from the state of the last token, or from the mean of the states of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MeanHead(nn.Linear):
    """A head that computes the score from the mean of the states of all tokens in a row, including the prompt's tokens.
    Other heads compute the score from the state of the row's last token."""


def make_score_head(weight: Tensor, bias: Tensor, *, pooled: bool = False) -> nn.Linear:
    """Returns the head of a reward model with the given `weight` [1,D] and `bias` [1]. `pooled`: whether the head is a
    `MeanHead`."""
    head: Any = nn.utils.skip_init(MeanHead if pooled else nn.Linear, weight.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head


def mean_of_rows(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Returns the mean of the states of the first `lengths[b]` tokens in each row b: [B,L,D] -> [B,D]."""
    counted = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]
    return (hidden.float() * counted[:, :, None]).sum(dim=1) / lengths[:, None]
