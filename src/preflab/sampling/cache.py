"""A key-value cache that is allocated once for a batch: written in place, read as views, and left by finished rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass
class Place:
    """Where the next forward pass writes, the same in every layer: rows `first` to `last`, from `column` on.

    `source`: None when decoding, where the pass's rows are the cache's and see all columns so far. In a prefill, which
    begins at column 0, it says which row of the pass each row of the cache copies, so that a prompt asked for several
    times passes through the model once.
    """

    first: int = 0
    last: int = 0
    column: int = 0
    source: Tensor | None = None


class InPlaceLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, columns, width], allocated at the first write."""

    is_sliding = False

    def __init__(self, place: Place, rows: int, columns: int) -> None:
        super().__init__()
        self.place, self.rows, self.columns = place, rows, columns

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Zeros, for a masked column still meets its value with weight 0, and 0 times a stray NaN is NaN."""
        self.keys, self.values = (
            states.new_zeros((self.rows, states.shape[1], self.columns, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new states; returns all that the queries may see (views of the cache; in a prefill, the input)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        place, end = self.place, self.place.column + key_states.shape[2]
        keys, values = self.keys[place.first : place.last, :, :end], self.values[place.first : place.last, :, :end]
        if place.source is None:
            keys[:, :, place.column :] = key_states
            values[:, :, place.column :] = value_states
            return keys, values
        keys[:] = key_states[place.source]
        values[:] = value_states[place.source]
        return key_states, value_states

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies the written part of rows `sources` over rows `targets`."""
        assert self.keys is not None and self.values is not None
        for states in (self.keys, self.values):
            written = states[:, :, : self.place.column]
            written[targets] = written[sources]

    def get_seq_length(self) -> int:
        return self.place.column

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.place.column + query_length, 0

    def get_max_length(self) -> int:
        return self.columns

    def get_max_cache_shape(self) -> int:
        """The name of `get_max_length` in earlier releases of transformers 5."""
        return self.columns


class InPlaceCache(Cache):
    """`layers` layers for up to `rows` rows of `columns` tokens. `place` says where the next forward pass writes."""

    def __init__(self, layers: int, rows: int, columns: int) -> None:
        self.place = Place()
        self.blocks = [InPlaceLayer(self.place, rows, columns) for _ in range(layers)]
        super().__init__(layers=list(self.blocks))

    @property
    def bytes(self) -> int:
        """What the allocated keys and values take."""
        states = [tensor for block in self.blocks for tensor in (block.keys, block.values) if tensor is not None]
        return sum(tensor.nbytes for tensor in states)

    def keep(self, alive: Tensor) -> Tensor:
        """Lets the rows leave that are not `alive[rows]`; returns the former place of each row that is left.

        Only as many rows are copied as there are holes before the new end: the rows behind it fill them. A copy costs
        less than the row's share of one more step, so that leaving at once always pays.
        """
        count = int(alive.sum())
        order = torch.arange(count, device=alive.device)
        holes = (~alive[:count]).nonzero()[:, 0]
        if len(holes):
            fillers = alive[count:].nonzero()[:, 0] + count
            for block in self.blocks:
                block.move(fillers, holes)
            order[holes] = fillers
        self.place.last = count
        return order
