"""The reference policy: a copy of the policy at one time, or an exponential moving average that follows the policy.

A reference keeps only the *trainable* tensors, and the model holds these tensors while the reference computes. So a frozen
base is in memory once, and under LoRA the reference is the model with the adapters of that time (fresh adapters change
nothing), never the pretrained model by accident. An EMA under LoRA averages each of the two adapter matrices, not their
product.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the parameters that training changes, by name; tied weights are listed once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


class Reference:
    """The trainable tensors of a policy at one time."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.tensors = {name: parameter.detach().clone() for name, parameter in trainable(model).items()}

    @contextmanager
    def active(self) -> Generator[Any]:
        """While open, the model *is* the reference: it holds the reference's tensors, and computes without gradients."""
        self._swap()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            self._swap()

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """ref <- rate * policy + (1 - rate) * ref (paper, Section 7 [ReaL]); rate 1 copies the policy."""
        for name, parameter in trainable(self.model).items():
            self.tensors[name].lerp_(parameter.detach(), rate)

    def state_dict(self) -> dict[str, Tensor]:
        return self.tensors

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in trainable(self.model).items():
            parameter.data, self.tensors[name] = self.tensors[name], parameter.data
