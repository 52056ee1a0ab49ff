"""Returns the number of ranks of distributed training, and adds values over all ranks. With one process, each sum is
the value itself."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import Tensor


def world() -> int:
    """Returns the number of ranks of distributed training."""
    return torch_dist.get_world_size() if torch_dist.is_available() and torch_dist.is_initialized() else 1


def all_sum(values: Tensor) -> Tensor:
    """Returns the elementwise sum of `values` over all ranks. Every rank gets the same sum. With one process, returns
    `values`."""
    if world() > 1:
        values = values.clone()
        torch_dist.all_reduce(values, op=torch_dist.ReduceOp.SUM)
    return values


def all_count(count: float) -> float:
    """Returns a count summed over all ranks."""
    return float(all_sum(torch.tensor(float(count), dtype=torch.float64)))
