"""A key-value cache that is allocated once for a batch and written in place; finished rows are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass
class Place:
    """The place in the cache where the next forward pass writes, the same in every layer: the rows from `first` up to
    `last` (excluded), beginning at `column`. `rows`, `columns`: the size of the whole batch.

    In decoding, `source` is None: each row of the forward pass is one row of the cache and attends to all columns so
    far. In the prefill, which begins at column 0, equal prompts pass through the model only once, and `source` maps the
    rows. As a tensor, `source` gives for each row of the cache the row of the pass to copy. As a number, it means that
    each row of the pass fills this number of consecutive cache rows.
    """

    rows: int = 0
    columns: int = 0
    first: int = 0
    last: int = 0
    column: int = 0
    source: Tensor | int | None = None


class InPlaceLayer(CacheLayerMixin):
    """The keys and values of one layer, [rows, heads, columns, width]. They are allocated again if they are too small
    for a batch."""

    is_sliding = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates zeros. Uninitialised memory may contain NaN, and attention multiplies masked values by 0, which
        would give NaN."""
        place = self.place
        self.keys, self.values = (
            states.new_zeros((place.rows, states.shape[1], place.columns, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new keys and values, and returns all keys and values to which the queries may attend. In decoding
        these are views of the cache; in the prefill, the new keys and values themselves."""
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
        """Copies the written columns of the rows `sources` to the rows `targets`."""
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

    get_max_cache_shape = get_max_length  # the method's name in earlier releases of transformers 5

    def _holds(self, states: Tensor | None, new: Tensor) -> bool:
        """Returns whether the allocated tensor is large enough for the batch, and has the type, device and head shape
        of the new states."""
        return (
            states is not None
            and states.dtype == new.dtype
            and states.device == new.device
            and states.shape[1::2] == new.shape[1::2]
            and states.shape[0] >= self.place.rows
            and states.shape[2] >= self.place.columns
        )


class InPlaceCache(Cache):
    """The keys and values of all layers of a model. `place`: where the next forward pass writes.

    The same cache can be used for batch after batch without new memory. The keys and values of an earlier batch are
    masked, and are finite. After an error the values are possibly not finite: do not use the cache again.
    """

    def __init__(self, layers: int) -> None:
        self.place = Place()
        self.blocks = [InPlaceLayer(self.place) for _ in range(layers)]
        super().__init__(layers=list(self.blocks))

    def begin(self, rows: int, columns: int) -> Place:
        """Empties the cache for a batch of `rows` rows with at most `columns` tokens each."""
        place = self.place
        place.rows, place.columns, place.first, place.last, place.column, place.source = rows, columns, 0, 0, 0, None
        return place

    def keep(self, alive: Tensor) -> Tensor:
        """Drops the rows whose `alive` is False. Returns the former row number of each remaining row.

        If n rows remain, the remaining rows from number n on are copied over dropped rows before number n; no other
        rows are copied. Copying a row costs less time than one decoding step for the row, so that dropping finished
        rows at once saves time.
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
        """The size of the allocated keys and values in bytes."""
        states = [tensor for block in self.blocks for tensor in (block.keys, block.values) if tensor is not None]
        return sum(tensor.nbytes for tensor in states)


def _spread(target: Tensor, states: Tensor, source: Tensor | int) -> None:
    """Copies each row of the forward pass to its rows of the cache. `source`: see `Place`."""
    if isinstance(source, int):
        target.unflatten(0, (-1, source))[:] = states[:, None]
    else:
        target[:] = states[source]
