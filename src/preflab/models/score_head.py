"""Makes the linear score heads of reward models that other packages trained. Such a head has a bias. It scores the
state of the last token, or the mean of the states of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MeanHead(nn.Linear):
    """A head that scores the mean of the states of all tokens of a row, including the prompt's tokens. Other heads
    score the state of the row's last token."""


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
