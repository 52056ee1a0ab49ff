"""Stores the keys and values of a prompt once for all rows with this prompt, and computes the attention of new tokens.

A row has two groups of columns. The prompt columns are shared by all rows with the same prompt. The own columns store
the tokens drawn for this row, one token in each column. All rows have drawn the same number of tokens. Therefore only
the prompt columns need a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import Cache, CacheLayerMixin

from preflab.sampling.columns import Columns, fill_holes
from preflab.sampling.sharing import Sharing


@dataclass
class SharedWritePosition:
    """The place where the next forward pass writes keys and values. The place is the same in every layer.

    sharing: which rows share a prompt.
    width: the length of the longest prompt.
    new_tokens: no row has more own columns than this number.
    first, last: the next prefill pass reads the prompts from `first` up to `last` (excluded).
    drawn: the number of own columns written so far; None during the prefill.
    gaps[G,1,1,width+1]: the mask of the prompt columns. It is minus infinity from the end of each prompt up to column
        `width` (excluded), and 0 elsewhere. None if all prompts have the same length.
    layer: the layer that was written last.
    """

    sharing: Sharing
    width: int = 0
    new_tokens: int = 0
    first: int = 0
    last: int = 0
    drawn: int | None = None
    gaps: Tensor | None = None
    layer: SharedLayer | None = None


class SharedLayer(CacheLayerMixin):
    """The key-value cache of one layer. `prompts`: the prompt columns. `own`: the own columns of the rows."""

    is_sliding = False

    def __init__(self, cache: SharedCache) -> None:
        super().__init__()
        self.cache = cache
        self.prompts, self.own = Columns(), Columns()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates memory for the batch if the memory of the earlier batches does not suffice. Always allocates
        `prompts` and `own` together, because otherwise one of them could keep a size that only an earlier batch needed.
        Sets the column after the longest prompt to 0 (see `_attend_new`)."""
        position = self.cache.position
        sizes = (position.sharing.prompts, position.width + 1), (position.sharing.rows, position.new_tokens)
        parts = list(zip((self.prompts, self.own), sizes, strict=True))
        if not all(part.holds(*size, key_states, value_states) for part, size in parts):
            for part, size in parts:
                part.allocate(*size, key_states, value_states)
        for states in self.prompts.tensors:
            states[: position.sharing.prompts, :, position.width] = 0
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new keys and values. In the prefill, returns the new keys and values. In decoding, returns the own
        columns of all rows."""
        position = self.cache.position
        if position.drawn is None:
            if position.first == 0:
                self.lazy_initialization(key_states, value_states)
            self.prompts.write(slice(position.first, position.last), 0, key_states, value_states)
            return key_states, value_states
        position.layer = self
        rows = slice(0, position.sharing.rows)
        self.own.write(rows, position.drawn, key_states, value_states)
        return self.own.read(rows, position.drawn + 1)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Computes the attention of the tokens that were written last: queries[N,H,T,D] -> [N,H,T,V]. In the prefill,
        these tokens are the prompts of the pass. In decoding, they are one new token of each row. `keys`, `values`: the
        result of `update`."""
        if self.cache.position.drawn is not None:
            return self._attend_new(queries, keys, values, scale)
        shared = queries.shape[1] > keys.shape[1]
        return scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale, enable_gqa=shared)

    def _attend_new(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Computes the attention of one new token of each row: queries[N,H,1,D] -> [N,H,1,V]. `keys`, `values`: the own
        columns of the rows.

        In the softmax over the prompt columns, one additional column represents all own columns. The additional column
        is the column after the longest prompt. Its score is the logsumexp of the scores of the own columns, and its
        value is 0. The attention to the own columns is computed separately, multiplied by the softmax weight of the
        additional column, and added.
        """
        position, sharing = self.cache.position, self.cache.position.sharing
        rows, heads, groups = len(queries), queries.shape[1], keys.shape[1]
        grouped = (queries * scale).reshape(rows, groups, heads // groups, -1)
        scores = grouped @ keys.transpose(2, 3)
        total = scores.logsumexp(dim=-1, keepdim=True)
        own = scores.softmax(dim=-1) @ values
        prompt_keys, prompt_values = self.prompts.read(slice(0, sharing.prompts), position.width + 1)
        scores = sharing.by_prompt(grouped) @ prompt_keys.transpose(2, 3)
        scores[..., -1:] = sharing.by_prompt(total)
        if position.gaps is not None:
            scores += position.gaps
        shares = scores.softmax(dim=-1)
        shared = sharing.by_row(shares @ prompt_values)
        return torch.addcmul(shared, sharing.by_row(shares[..., -1:]), own).reshape(rows, heads, 1, -1)

    def get_seq_length(self) -> int:
        position = self.cache.position
        return 0 if position.drawn is None else position.width + position.drawn

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self.cache.position.width + self.cache.position.new_tokens

    get_max_cache_shape = get_max_length  # earlier releases of transformers 5 call the method by this name


class SharedCache(Cache):
    """The key-value cache of all layers of a model. One cache can serve several batches in turn. After an error, the
    memory may contain NaN or infinite values. Do not use the cache again."""

    position: SharedWritePosition

    def __init__(self, layers: int) -> None:
        self.blocks = [SharedLayer(self) for _ in range(layers)]
        super().__init__(layers=list(self.blocks))

    def begin(self, lengths: Tensor, copies: Tensor, new_tokens: int) -> None:
        """Empties the cache for prompts of `lengths[G]` tokens. Prompt g has `copies[g]` consecutive rows. At most
        `new_tokens` tokens are drawn for each row."""
        owners = torch.arange(len(lengths), device=lengths.device).repeat_interleave(copies)
        self.position = SharedWritePosition(Sharing(owners, len(lengths)), int(lengths.max()), max(new_tokens - 1, 1))

    def decode(self, lengths: Tensor, dtype: torch.dtype) -> None:
        """Ends the prefill. The next forward passes write the own columns of the rows."""
        position = self.position
        position.drawn = 0
        if bool((lengths < position.width).any()):
            places = torch.arange(position.width + 1, device=lengths.device)
            gaps = (places >= lengths[:, None]) & (places < position.width)
            zeros = torch.zeros(gaps.shape, dtype=dtype, device=lengths.device)
            position.gaps = zeros.masked_fill_(gaps, float("-inf"))[:, None, None, :]

    def advance(self) -> None:
        """Ends a decoding step: adds 1 to the number of own columns written so far."""
        assert self.position.drawn is not None
        self.position.drawn += 1

    def keep(self, alive: Tensor) -> Tensor:
        """Removes the rows whose `alive` is False, and the prompts that have no rows left. Returns, for each remaining
        row, the row's index before the removal."""
        position = self.position
        assert position.drawn is not None
        order, fillers, holes = fill_holes(alive)
        owners = position.sharing.owners[order]
        used = torch.bincount(owners, minlength=position.sharing.prompts) > 0
        prompt_order, prompt_fillers, prompt_holes = fill_holes(used)
        for block in self.blocks:
            block.own.move(fillers, holes, position.drawn)
            block.prompts.move(prompt_fillers, prompt_holes, position.width)
        places = torch.empty_like(used, dtype=torch.long)
        places[prompt_order] = torch.arange(len(prompt_order), device=owners.device)
        position.sharing = Sharing(places[owners], len(prompt_order))
        position.gaps = None if position.gaps is None else position.gaps[prompt_order]
        return order

    @property
    def token_bytes(self) -> int:
        """The size in bytes of the keys and values of one token in all layers."""
        return sum(block.prompts.token_bytes for block in self.blocks)
