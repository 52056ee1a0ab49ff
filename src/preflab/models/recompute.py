"""Activation checkpointing: the backward pass computes each layer again, so that the layer's activations need not be kept
(Chen et al. 2016). A forward pass with gradients then keeps one state per token and layer, and costs a second forward
pass in the backward pass."""

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
    """Makes the network, and later copies of it, compute its layers again in the backward pass. Raises `UserError` if
    transformers does not mark the layers of this architecture."""
    if not _layers(network):
        raise UserError(
            f"The layers of {type(network).__name__} cannot be computed again in the backward pass. Set "
            "`checkpoint_activations` to false, and lower `token_budget` to save memory."
        )
    network.recomputes_layers = True


@contextmanager
def recomputing(network: Any) -> Generator[None]:
    """In this context, a forward pass keeps only the input of each layer if `recompute_layers` was called on the
    network and gradients are computed; otherwise the context has no effect. The model stays in evaluation mode, so that
    no layer applies dropout."""
    layers = _layers(network) if torch.is_grad_enabled() and _is_marked(network) else []
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own `forward` again


def _is_marked(network: nn.Module) -> bool:
    """Returns whether `recompute_layers` was called on the network, or on the one of which it is a copy."""
    return getattr(network, "recomputes_layers", False)


def _layers(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
