"""Provides the reference policy, which is a frozen copy of the policy or an exponential moving average (EMA) of the
policy.

A reference stores only the *trainable* tensors of the policy. To compute with the reference, these tensors are swapped
into the model. Frozen weights are therefore in memory only once. If the policy has LoRA adapters, the reference stores
a copy of the adapters. New adapters have no effect, so a reference that is copied before the first update equals the
starting policy. With LoRA, an EMA averages each of the two adapter matrices, not their product.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns a mapping from names to the trainable parameters of a model. Tied weights occur only once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


class Reference:
    """A reference policy. It stores a copy of a policy's trainable tensors. `follow` moves this copy towards the
    policy."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tensors = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}

    @contextmanager
    def active(self) -> Generator[Any]:
        """Opens a context in which the model has the weights of the reference and computes without gradients."""
        self._swap()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            self._swap()

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Updates the reference: ref <- rate * policy + (1 - rate) * ref (Xu et al. 2024, Section 7, and their library
        ReaL). Rate 1 copies the policy."""
        for name, parameter in trainable(self.model).items():
            self.tensors[name].lerp_(parameter.detach(), rate)

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            if state[name].shape != tensor.shape:  # `copy_` would silently broadcast a smaller tensor
                raise ValueError(f"{name} has the shape {tuple(state[name].shape)}, not {tuple(tensor.shape)}")
            tensor.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in trainable(self.model).items():
            parameter.data, self.tensors[name] = self.tensors[name], parameter.data
