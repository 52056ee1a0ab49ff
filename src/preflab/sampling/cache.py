"""A key-value cache that is allocated once for a batch and written in place. Rows are removed from the cache when they
are finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from preflab.sampling.columns import Columns, fill_holes


@dataclass
class WritePosition:
    """The position where the next forward pass writes keys and values: the cache rows from `first` up to `last`
    (excluded), and the columns from `column` on. The position is the same in every layer. `rows`, `columns`: the size of
    the whole batch.

    In the prefill, which begins at column 0, the model processes equal prompts only once. `source` then assigns the
    rows of the forward pass to cache rows. If `source` is a tensor, it contains one index for each cache row: the row
    of the forward pass that is copied to this cache row. If `source` is a number n, each row of the pass is copied to n
    consecutive cache rows.

    In decoding, `source` is None. Each row of the forward pass then corresponds to one cache row, and attends to all
    columns written so far.
    """

    rows: int = 0
    columns: int = 0
    first: int = 0
    last: int = 0
    column: int = 0
    source: Tensor | int | None = None


class InPlaceLayer(CacheLayerMixin):
    """The key-value cache of one layer, written in place."""

    is_sliding = False

    def __init__(self, position: WritePosition) -> None:
        super().__init__()
        self.position = position
        self.columns = Columns()

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates memory for the batch if the memory of the earlier batches does not suffice."""
        size = (self.position.rows, self.position.columns)
        if not self.columns.holds(*size, key_states, value_states):
            self.columns.allocate(*size, key_states, value_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new keys and values, and returns all keys and values to which the queries can attend. In decoding,
        the returned tensors are views of the cache. In the prefill, they are the new keys and values."""
        self.lazy_initialization(key_states, value_states)
        position, rows = self.position, slice(self.position.first, self.position.last)
        if position.source is None:
            self.columns.write(rows, position.column, key_states, value_states)
            return self.columns.read(rows, position.column + key_states.shape[2])
        for target, states in zip(
            self.columns.read(rows, key_states.shape[2]), (key_states, value_states), strict=True
        ):
            _spread(target, states, position.source)
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.position.column

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.position.column + query_length, 0

    def get_max_length(self) -> int:
        return self.position.columns

    get_max_cache_shape = get_max_length  # earlier releases of transformers 5 call the method by this name


class InPlaceCache(Cache):
    """The key-value cache of all layers of a model. `position`: where the next forward pass writes.

    One cache can serve several batches in turn without new memory. Keys and values of an earlier batch stay in the
    memory: they are finite, and are masked. After an error, the memory may contain NaN or infinite values. Do not use
    the cache again.
    """

    def __init__(self, layers: int) -> None:
        self.position = WritePosition()
        self.blocks = [InPlaceLayer(self.position) for _ in range(layers)]
        super().__init__(layers=list(self.blocks))

    def begin(self, rows: int, columns: int) -> WritePosition:
        """Empties the cache, and prepares the cache for a new batch of `rows` rows with at most `columns` tokens each."""
        position = self.position
        position.rows, position.columns = rows, columns
        position.first = position.last = position.column = 0
        position.source = None
        return position

    def keep(self, alive: Tensor) -> Tensor:
        """Removes the rows whose `alive` is False from the cache. Returns, for each remaining row, the row's index
        before the removal.

        Finished rows are removed at once, although other rows must then be copied: copying a row takes less time than one
        decoding step for a finished row.
        """
        order, fillers, holes = fill_holes(alive)
        for block in self.blocks:
            block.columns.move(fillers, holes, self.position.column)
        self.position.last = len(order)
        return order

    @property
    def token_bytes(self) -> int:
        """The size in bytes of the keys and values of one token in all layers."""
        return sum(block.columns.token_bytes for block in self.blocks)


def _spread(target: Tensor, states: Tensor, source: Tensor | int) -> None:
    """Copies each row of the forward pass to the cache rows that `source` assigns to this row. `source`: see
    `WritePosition`."""
    if isinstance(source, int):
        target.unflatten(0, (-1, source))[:] = states[:, None]
    else:
        target[:] = states[source]
