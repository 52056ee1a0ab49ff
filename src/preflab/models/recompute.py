"""Turns on activation checkpointing (Chen et al. 2016). The backward pass computes each layer again, so the layer's
activations need not be kept in memory. A forward pass with gradients then keeps only one state per token and layer. The
recomputation takes as long as one forward pass."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from preflab.errors import UserError


def recompute_layers(network: Any) -> None:
    """Makes the network compute its layers again in the backward pass. Later copies of the network do so too. Raises
    `UserError` if transformers does not support gradient checkpointing for the layers of this architecture."""
    if not _layers(network):
        raise UserError(
            f"The layers of {type(network).__name__} cannot be computed again in the backward pass. Set "
            "`checkpoint_activations` to false, and lower `token_budget` to save memory."
        )
    network.recomputes_layers = True


@contextmanager
def recomputing(network: Any) -> Generator[None]:
    """Opens a context in which forward passes keep only the input of each layer. The context has an effect only if
    `recompute_layers` was called on the network and gradients are computed. The model stays in evaluation mode, so no
    layer applies dropout."""
    layers = _layers(network) if torch.is_grad_enabled() and _is_marked(network) else []
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # restores the class's own `forward`


def _is_marked(network: nn.Module) -> bool:
    """Checks whether `recompute_layers` was called on the network, or on a network of which this network is a copy."""
    return getattr(network, "recomputes_layers", False)


def _layers(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
