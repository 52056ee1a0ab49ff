"""The linear heads of reward models that were made elsewhere: with a bias, on the last token or on the mean of all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MeanHead(nn.Linear):
    """The head of a reward model that scores the mean of the states of all tokens of a row, those of the prompt included,
    instead of the state of its last token."""


def make_score_head(weight: Tensor, bias: Tensor, *, pooled: bool = False) -> nn.Linear:
    """Returns the head of a reward model with these weights [1,D] and this bias [1]. `pooled`: see `MeanHead`."""
    head: Any = nn.utils.skip_init(MeanHead if pooled else nn.Linear, weight.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return head


def mean_of_rows(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Returns the mean of the states of each row's first `lengths[b]` tokens: [B,L,D] -> [B,D]."""
    counted = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]
    return (hidden.float() * counted[:, :, None]).sum(dim=1) / lengths[:, None]
