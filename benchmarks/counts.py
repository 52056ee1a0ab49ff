"""Counts what a piece of work computes, whatever its modules look like: counts do not flicker, and times do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Counts(TorchDispatchMode):
    """Counts while the context is open, the backward pass included.

    `passes`: look-ups in the embedding of `vocabulary` ids, of which every pass of a model makes one. `tokens`: the ids that
    were looked up, so the positions that went through the network, padding included. `logits`: rows of new tensors whose last
    size is the vocabulary's.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.passes = self.tokens = self.logits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is aten.embedding.default and args[0].shape[0] == self.vocabulary:
            self.passes += 1
            self.tokens += args[1].numel()
        if isinstance(out, Tensor) and out.dim() > 1 and out.shape[-1] == self.vocabulary and is_new(out, args):
            self.logits += out.numel() // self.vocabulary
        return out


def is_new(out: Tensor, args: Any) -> bool:
    """Whether no argument shares its memory with the result."""
    held = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, Tensor)}
    return out.untyped_storage().data_ptr() not in held
