"""A key-value cache that is allocated once for a batch, written in place and read as views; finished rows are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass
class Place:
    """The place where the next forward pass writes, the same in every layer: rows `first` to `last`, from `column` on. The
    batch needs `rows` rows of `columns` tokens.

    `source` is None when decoding: the rows of the pass are the rows of the cache, and see all columns so far. In a prefill,
    which begins at column 0, equal prompts pass through the model once. Then `source` says which row of the pass each row of
    the cache copies; or it is a number, if each row of the pass fills that number of rows of the cache.
    """

    rows: int = 0
    columns: int = 0
    first: int = 0
    last: int = 0
    column: int = 0
    source: Tensor | int | None = None


class InPlaceLayer(CacheLayerMixin):
    """One layer's keys and values, [rows, heads, columns, width], allocated when a write finds them too small."""

    is_sliding = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates zeros: attention multiplies the value of a masked column by 0, and 0 times a stray NaN is NaN."""
        place = self.place
        self.keys, self.values = (
            states.new_zeros((place.rows, states.shape[1], place.columns, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new states and returns all states that the queries may see: views of the cache, or in a prefill the new
        states themselves."""
        if not (self._holds(self.keys, key_states) and self._holds(self.values, value_states)):
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        place, end = self.place, self.place.column + key_states.shape[2]
        keys, values = self.keys[place.first : place.last, :, :end], self.values[place.first : place.last, :, :end]
        if place.source is None:
            keys[:, :, place.column :] = key_states
            values[:, :, place.column :] = value_states
            return keys, values
        _spread(keys, key_states, place.source)
        _spread(values, value_states, place.source)
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
        return self.place.columns

    get_max_cache_shape = get_max_length  # what earlier releases of transformers 5 call it

    def _holds(self, states: Tensor | None, new: Tensor) -> bool:
        """Checks whether allocated states have room for the batch, with the type and shape of the new states."""
        return (
            states is not None
            and states.dtype == new.dtype
            and states.device == new.device
            and states.shape[1::2] == new.shape[1::2]
            and states.shape[0] >= self.place.rows
            and states.shape[2] >= self.place.columns
        )


class InPlaceCache(Cache):
    """Keys and values of a model's `layers` layers. `place` says where the next forward pass writes.

    A cache can serve batch after batch without new memory: the states of an earlier batch are finite, and are masked. After
    an error the states may not be finite, and the cache must not be used again.
    """

    def __init__(self, layers: int) -> None:
        self.place = Place()
        self.blocks = [InPlaceLayer(self.place) for _ in range(layers)]
        super().__init__(layers=list(self.blocks))

    def begin(self, rows: int, columns: int) -> Place:
        """Empties the cache for a batch of `rows` rows that grow up to `columns` tokens."""
        place = self.place
        place.rows, place.columns, place.first, place.last, place.column, place.source = rows, columns, 0, 0, 0, None
        return place

    def keep(self, alive: Tensor) -> Tensor:
        """Drops the rows that are not `alive[rows]`; returns the former place of each remaining row.

        Remaining rows that stand behind the new end are copied into the holes before it; no other rows are copied. Copying a
        row costs less than the row's share of one more step, so it always pays to drop rows at once.
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

    @property
    def bytes(self) -> int:
        """The memory that the allocated keys and values take."""
        states = [tensor for block in self.blocks for tensor in (block.keys, block.values) if tensor is not None]
        return sum(tensor.nbytes for tensor in states)


def _spread(target: Tensor, states: Tensor, source: Tensor | int) -> None:
    """Copies each row of the pass to its rows of the cache; `source` means what it means in `Place`."""
    if isinstance(source, int):
        target.unflatten(0, (-1, source))[:] = states[:, None]
    else:
        target[:] = states[source]
