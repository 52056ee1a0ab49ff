"""Lets transformers models compute the attention of a decoding step with `SharedCache`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from preflab.sampling.shared import SharedCache

NAME = "preflab_shared"


@contextmanager
def shared_attention(config: Any, cache: SharedCache) -> Generator[None]:
    """While the context is open, the modules whose configuration is `config` compute attention with
    `SharedLayer.attend`.

    transformers registers no mask function for this kind of attention. Therefore, the modules build no attention mask.
    """

    def attend(
        module: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        position_bias: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        layer = cache.position.layer
        if attention_mask is not None or position_bias is not None or layer is None:
            # The trial in `sampling.support` catches this error. Another way to decode is then used for the model.
            raise NotImplementedError(
                "The model passes an attention mask or a position bias, or no cache layer was written."
            )
        attended = layer.attend(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling)
        return attended.transpose(1, 2), None

    former = config._attn_implementation
    ALL_ATTENTION_FUNCTIONS[NAME] = attend
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = former
        del ALL_ATTENTION_FUNCTIONS[NAME]
