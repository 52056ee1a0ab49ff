"""Finds out which architectures the in-place cache serves: first by their configuration, then by a trial on a few tokens."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from preflab.models.forward import backbone
from preflab.sampling.cache import InPlaceCache
from preflab.sampling.decode import DecodeBatch

PROBE = ([1, 2, 3], [4])  # a long and a short prompt, so that the gap between prompt and new tokens is tried too
PROBE_TOKENS = [[5, 6], [7, 0]]
WINDOW_NAME = re.compile("(window|window_size|attention_chunk_size)$")
"""The names of sizes in a configuration that limit how many columns before its own a layer sees. Not every family's layers
keep a window in the cache: GPT-Neo's local layers count columns, and so they also count the gap between a short prompt and
its new tokens."""
PROBE_COLUMNS = len(PROBE[0]) + len(PROBE_TOKENS[0])


class Support(NamedTuple):
    """`reason`: why the cache does not serve a model; '' if it does. If it does, also the number of the cache's layers, the
    bytes that the keys and values of a token take in all layers, and `window`, the narrowest attention window (None if there
    is no window)."""

    reason: str
    layers: int = 0
    token_bytes: int = 0
    window: int | None = None

    def objection(self, columns: int) -> str:
        """Says why the cache does not serve rows of `columns` tokens; '' if it does. A window as wide as a row hides
        nothing."""
        if not self.reason and self.window is not None and columns > self.window:
            return f"its attention window is {self.window} tokens, a row may have {columns}."
        return self.reason


def examine(base: Any) -> Support:
    """Finds out whether the transformers model `base`, in eval mode, computes the same states with and without the in-place
    cache."""
    attention = getattr(base.config, "_attn_implementation", None)
    layers = DynamicCache(config=base.config).layers
    config = base.config.get_text_config(decoder=True)
    if attention not in ("sdpa", "eager"):
        return Support(f"its attention is {attention!r}; load it with attn_implementation='sdpa'.")
    if {type(layer) for layer in layers} - {DynamicLayer, DynamicSlidingWindowLayer}:
        return Support("it has layers that keep more than keys and values.")
    if len(layers) != config.num_hidden_layers:
        return Support("not every layer keeps keys and values.")
    windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
    windows += [size for name, size in config.to_dict().items() if WINDOW_NAME.search(name) and size]
    window = min(windows, default=None)
    if window is not None and window < PROBE_COLUMNS:
        return Support(f"its attention window is {window} tokens.")
    return _try_cache(base, len(layers))._replace(window=window)


def _try_cache(base: Any, layers: int) -> Support:
    """Decodes two tokens after two prompts; the states must equal the states of passes without a cache."""
    with torch.autocast(base.device.type, enabled=False):
        try:
            batch = DecodeBatch(base, InPlaceCache(layers), PROBE, new_tokens=len(PROBE_TOKENS[0]) + 1)
            for tokens in zip(*PROBE_TOKENS, strict=True):
                batch.step(torch.tensor(tokens, device=base.device))
        except Exception as error:  # any error means that this architecture does not take this cache
            return Support(f"it does not take preflab's cache ({type(error).__name__}: {error}).")
        rows = [[*prompt, *tokens] for prompt, tokens in zip(PROBE, PROBE_TOKENS, strict=True)]
        uncached = [
            backbone(base)(input_ids=torch.tensor([row], device=base.device), use_cache=False).last_hidden_state[0, -1]
            for row in rows
        ]
    expected = torch.stack(uncached).float()
    error = (batch.hidden.float() - expected).norm(dim=1) / expected.norm(dim=1)
    tolerance = 1e-4 if base.dtype == torch.float32 else 0.05
    if not bool((error < tolerance).all()):
        return Support("with a cache its states differ from those without.")
    return Support("", layers, batch.cache.bytes // (len(PROBE) * PROBE_COLUMNS))
