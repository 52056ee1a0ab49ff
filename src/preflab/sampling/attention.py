"""Lets the modules of transformers compute the attention of a decoding step with a `SharedCache`."""

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
    """Lets the modules with this configuration call `SharedLayer.attend` while the context is open.

    The modules then do not build an attention mask, because transformers has no mask for this kind of attention.
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
        layer = cache.shelf.layer
        if attention_mask is not None or position_bias is not None or layer is None:
            # The trial of `sampling.support` catches this error, and the model is then decoded in another way.
            raise NotImplementedError("This attention has a mask or a bias of its own.")
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
