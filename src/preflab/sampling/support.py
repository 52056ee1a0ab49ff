"""Finds out whether the in-place cache supports a model, by its configuration and by a trial on a few tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from preflab.models.forward import backbone
from preflab.models.sharing import named_windows
from preflab.sampling.cache import InPlaceCache
from preflab.sampling.decode import DecodeBatch

PROBE = ([1, 2, 3], [4])  # a long and a short prompt, so that the trial includes a masked gap
PROBE_TOKENS = [[5, 6], [7, 0]]
PROBE_COLUMNS = len(PROBE[0]) + len(PROBE_TOKENS[0])


class Support(NamedTuple):
    """`reason`: why the cache does not support a model; '' if it does. The other fields are set only if it does.
    `layers`: the number of layers in the cache. `token_bytes`: the size of the keys and values of one token in all
    layers. `window`: the size of the narrowest attention window; None if there is no window."""

    reason: str
    layers: int = 0
    token_bytes: int = 0
    window: int | None = None

    def objection(self, columns: int) -> str:
        """Returns the reason why the cache does not support rows of `columns` tokens; '' if it does. An attention
        window that is not narrower than a row has no effect."""
        if not self.reason and self.window is not None and columns > self.window:
            return f"its attention window is {self.window} tokens, but a row may have {columns}."
        return self.reason


def examine(base: Any) -> Support:
    """Finds out whether the transformers model `base` computes the same hidden states with and without the in-place
    cache. The model must be in evaluation mode."""
    attention = getattr(base.config, "_attn_implementation", None)
    layers = DynamicCache(config=base.config).layers
    config = base.config.get_text_config(decoder=True)
    if attention not in ("sdpa", "eager"):
        return Support(f"its attention is {attention!r}; load it with attn_implementation='sdpa'.")
    if {type(layer) for layer in layers} - {DynamicLayer, DynamicSlidingWindowLayer}:
        return Support("some of its layers store more than keys and values.")
    if len(layers) != config.num_hidden_layers:
        return Support("not every layer stores keys and values.")
    windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
    windows += named_windows(config)
    window = min(windows, default=None)
    if window is not None and window < PROBE_COLUMNS:
        return Support(f"its attention window is {window} tokens.")
    return _try_cache(base, len(layers))._replace(window=window)


def _try_cache(base: Any, layers: int) -> Support:
    """Decodes two tokens after each of two prompts with the cache, and compares the hidden states with those of forward
    passes without a cache."""
    with torch.autocast(base.device.type, enabled=False):
        try:
            batch = DecodeBatch(base, InPlaceCache(layers), PROBE, new_tokens=len(PROBE_TOKENS[0]) + 1)
            for tokens in zip(*PROBE_TOKENS, strict=True):
                batch.step(torch.tensor(tokens, device=base.device))
        except Exception as error:  # any error means that this architecture does not work with this cache
            return Support(f"it does not work with preflab's cache ({type(error).__name__}: {error}).")
        rows = [[*prompt, *tokens] for prompt, tokens in zip(PROBE, PROBE_TOKENS, strict=True)]
        uncached = [
            backbone(base)(input_ids=torch.tensor([row], device=base.device), use_cache=False).last_hidden_state[0, -1]
            for row in rows
        ]
    expected = torch.stack(uncached).float()
    error = (batch.hidden.float() - expected).norm(dim=1) / expected.norm(dim=1)
    tolerance = 1e-4 if base.dtype == torch.float32 else 0.05
    if not bool((error < tolerance).all()):
        return Support("its hidden states with a cache differ from those without a cache.")
    return Support("", layers, batch.cache.bytes // (len(PROBE) * PROBE_COLUMNS))
