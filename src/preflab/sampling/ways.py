"""The classes that store keys and values and run decoding steps in different ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preflab.models.forward import backbone
from preflab.sampling.attention import shared_attention
from preflab.sampling.cache import InPlaceCache
from preflab.sampling.decode import DecodeBatch
from preflab.sampling.fused import FusedLayers, find_obstacle
from preflab.sampling.shared import SharedCache


class InPlaceBatch(DecodeBatch):
    """Stores the keys and values of prompt and answer together, in one cache row for each row of the batch. Runs a step
    with the attention of the model's modules.

    The new tokens of a step are written to one common column after the longest prompt. The gap between the end of a
    shorter prompt and the first new token is masked.
    """

    cache_type = InPlaceCache
    cache: InPlaceCache

    @classmethod
    def objection(cls, base: Any) -> str:
        attention = base.config._attn_implementation
        served = attention in ("sdpa", "eager")
        return (
            "" if served else f"the model's attention is {attention!r}. Load the model with attn_implementation='sdpa'."
        )

    def step(self, tokens: Tensor) -> None:
        position = self.cache.position
        self.hidden = self.backbone(
            input_ids=tokens[:, None],
            position_ids=self.positions[:, None],
            attention_mask=None if self.mask is None else self.mask[..., : position.column + 1],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        self.positions = self.positions + 1
        position.column += 1

    def keep(self, alive: Tensor) -> Tensor:
        order = super().keep(alive)
        self.mask = None if self.mask is None else self.mask[order]
        return order

    def _begin(self, new_tokens: int) -> None:
        self.cache.begin(len(self.positions), int(self.lengths.max()) + max(new_tokens - 1, 0))

    def _expect(self, first: int, last: int) -> None:
        position, copies = self.cache.position, self.copies[first:last]
        alike = bool((copies == copies[0]).all())
        position.source = (
            int(copies[0]) if alike else torch.arange(len(copies), device=self.device).repeat_interleave(copies)
        )
        position.first, position.last = position.last, position.last + int(copies.sum())

    def _end_prefill(self) -> None:
        position, width = self.cache.position, int(self.lengths.max())
        position.first, position.last, position.column, position.source = 0, len(self.positions), width, None
        self.mask = self._mask(width, position.columns)

    def _mask(self, width: int, columns: int) -> Tensor | None:
        """Returns the additive mask [N,1,1,columns], which is minus infinity between the end of a prompt and the first
        new token, and 0 elsewhere. Returns None if all prompts have the same length."""
        if bool((self.positions == width).all()):
            return None
        places = torch.arange(columns, device=self.device)
        gaps = (places >= self.positions[:, None]) & (places < width)
        mask = torch.zeros(gaps.shape, dtype=self.hidden.dtype, device=self.device)
        return mask.masked_fill_(gaps, float("-inf"))[:, None, None, :]


class SharedBatch(DecodeBatch):
    """Stores the keys and values of a prompt once for all rows with this prompt. Computes attention in a step with
    `SharedLayer.attend`."""

    cache_type = SharedCache
    cache: SharedCache

    @classmethod
    def objection(cls, base: Any) -> str:
        if base.dtype in (torch.bfloat16, torch.float16):
            return "the shared cache would round the attention scores to half precision."
        return "" if backbone(base).config._attn_implementation == "sdpa" else "the model's attention is not 'sdpa'."

    def step(self, tokens: Tensor) -> None:
        with shared_attention(self.backbone.config, self.cache):
            self.hidden = self.backbone(
                input_ids=tokens[:, None],
                position_ids=self.positions[:, None],
                past_key_values=self.cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
        self.positions = self.positions + 1
        self.cache.advance()

    def _begin(self, new_tokens: int) -> None:
        self.cache.begin(self.lengths, self.copies, new_tokens)

    def _expect(self, first: int, last: int) -> None:
        self.cache.position.first, self.cache.position.last = first, last

    def _end_prefill(self) -> None:
        self.cache.decode(self.lengths, self.hidden.dtype)


class FusedBatch(SharedBatch):
    """Stores keys and values as `SharedBatch` does, but runs `FusedLayers` instead of the model's modules."""

    @classmethod
    def objection(cls, base: Any) -> str:
        return super().objection(base) or find_obstacle(backbone(base))

    def step(self, tokens: Tensor) -> None:
        self.hidden = self.layers(tokens, self.positions, self.cache.blocks)
        self.positions = self.positions + 1
        self.cache.advance()

    def _begin(self, new_tokens: int) -> None:
        super()._begin(new_tokens)
        self.layers = FusedLayers(self.backbone, self.cache.position.width + new_tokens)

    def _read(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.layers.read(ids, lengths, self.cache.blocks)
