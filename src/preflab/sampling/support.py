"""Finds the fastest way in which preflab can decode with a model. Checks the model's configuration and runs a trial on
a few tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from preflab.models.forward import backbone
from preflab.models.packing import named_windows
from preflab.sampling.decode import DecodeBatch
from preflab.sampling.ways import FusedBatch, InPlaceBatch, SharedBatch

PROBE = ([1, 2, 3], [1, 2, 3], [4], [4])
"""The prompts of the trial: a long and a short prompt, each in two rows. Their lengths differ, so that the trial
includes a masked gap."""
PROBE_TOKENS = [[5, 6], [8, 3], [7, 0], [9, 2]]
PROBE_DROPPED = 1
WAYS: tuple[type[DecodeBatch], ...] = (FusedBatch, SharedBatch, InPlaceBatch)
"""The subclasses of `DecodeBatch`, fastest first. Each class decodes in a different way."""
PROBE_COLUMNS = len(PROBE[0]) + len(PROBE_TOKENS[0])


class Support(NamedTuple):
    """Describes how preflab can decode with a model. `reason`: why none of preflab's caches supports the model; '' if
    one of the caches supports the model. The other fields are set only if `reason` is ''. `way`: the fastest way to
    decode that passed the trial. `layers`: the number of layers in the cache. `token_bytes`: the size in bytes of the
    keys and values of one token in all layers. `window`: the size of the narrowest attention window; None if there is
    no window."""

    reason: str
    way: type[DecodeBatch] = InPlaceBatch
    layers: int = 0
    token_bytes: int = 0
    window: int | None = None

    def objection(self, columns: int) -> str:
        """Returns the reason why the cache does not support rows of `columns` tokens, or '' if the cache supports them.
        The cache supports a model with an attention window if the rows fit into the window."""
        if not self.reason and self.window is not None and columns > self.window:
            return f"the model's attention window is {self.window} tokens, but a row may have {columns}."
        return self.reason


def candidates(base: Any) -> tuple[type[DecodeBatch], ...]:
    """Returns the classes in `WAYS` that possibly work for a model in its present state. The result can change when the
    model gets adapters or another precision."""
    return tuple(way for way in WAYS if not way.objection(base))


def examine(base: Any) -> Support:
    """Tries each way in `WAYS` on the transformers model `base`, fastest first. Returns the first way that gives the
    same hidden states as forward passes without a cache. The model must be in evaluation mode."""
    layers = DynamicCache(config=base.config).layers
    config = base.config.get_text_config(decoder=True)
    if {type(layer) for layer in layers} - {DynamicLayer, DynamicSlidingWindowLayer}:
        return Support("some layers of the model store more than keys and values.")
    if len(layers) != config.num_hidden_layers:
        return Support("some layers of the model do not store keys and values.")
    windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
    windows += named_windows(config)
    window = min(windows, default=None)
    if window is not None and window < PROBE_COLUMNS:
        return Support(f"the model's attention window is only {window} tokens.")
    reason = ""
    for way in WAYS:
        support = _try_way(base, way, len(layers))
        if not support.reason:
            return support._replace(window=window)
        reason = support.reason
    return Support(reason)


def _try_way(base: Any, way: type[DecodeBatch], layers: int) -> Support:
    """Decodes two tokens after each prompt in `PROBE`, and drops one row between the two tokens. Then compares the
    hidden states with the hidden states of forward passes without a cache."""
    if objection := way.objection(base):
        return Support(objection)
    with torch.autocast(base.device.type, enabled=False):
        try:
            hidden, kept, size = _decode(base, way, layers)
        except Exception as error:  # any error means that this cache does not support the architecture
            return Support(f"the model does not work with preflab's cache ({type(error).__name__}: {error}).")
        rows = [[*PROBE[row], *PROBE_TOKENS[row]] for row in kept]
        uncached = [
            backbone(base)(input_ids=torch.tensor([row], device=base.device), use_cache=False).last_hidden_state[0, -1]
            for row in rows
        ]
    expected = torch.stack(uncached).float()
    error = (hidden.float() - expected).norm(dim=1) / expected.norm(dim=1)
    tolerance = 1e-4 if base.dtype == torch.float32 else 0.05
    if not bool((error < tolerance).all()):
        return Support("the model's hidden states with a cache differ from those without a cache.")
    return Support("", way, layers, size)


def _decode(base: Any, way: type[DecodeBatch], layers: int) -> tuple[Tensor, list[int], int]:
    """Returns the hidden state of the last token of each remaining row, the former indices of these rows, and the size
    in bytes of a token's keys and values."""
    cache = way.cache_type(layers)
    first, second = (torch.tensor(tokens, device=base.device) for tokens in zip(*PROBE_TOKENS, strict=True))
    batch = way(base, cache, PROBE, new_tokens=3)
    batch.step(first)
    alive = torch.arange(len(PROBE), device=base.device) != PROBE_DROPPED
    order = batch.keep(alive)
    batch.step(second[order])
    return batch.hidden, order.tolist(), cache.token_bytes
