"""Stores the keys and values of a batch in one layer. The memory is allocated once and written in place.

A column holds one token of each row.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Columns:
    """The memory for the keys and values of one layer. `tensors`: the keys and the values, each [rows, heads, columns,
    width]; empty before the first `allocate`."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def holds(self, rows: int, columns: int, keys: Tensor, values: Tensor) -> bool:
        """Checks whether the allocated memory suffices for this number of rows and columns, and has the type, device
        and head shape of `keys` and `values`."""
        pairs = zip(self.tensors, (keys, values), strict=False)
        return bool(self.tensors) and all(_suffices(states, new, rows, columns) for states, new in pairs)

    def allocate(self, rows: int, columns: int, keys: Tensor, values: Tensor) -> None:
        """Allocates zeros. Uninitialised memory may contain NaN, and attention multiplies masked values by 0, which would
        give NaN."""
        sizes = [(rows, states.shape[1], columns, states.shape[3]) for states in (keys, values)]
        self.tensors = [states.new_zeros(size) for states, size in zip((keys, values), sizes, strict=True)]

    def write(self, rows: slice, column: int, keys: Tensor, values: Tensor) -> None:
        """Writes new keys and values of these rows, beginning at `column`."""
        for target, states in zip(self.tensors, (keys, values), strict=True):
            target[rows, :, column : column + states.shape[2]] = states

    def read(self, rows: slice, columns: int) -> tuple[Tensor, Tensor]:
        """Returns views of the first `columns` columns of these rows."""
        keys, values = self.tensors
        return keys[rows, :, :columns], values[rows, :, :columns]

    def move(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        """Copies the first `columns` columns of the rows `sources` to the rows `targets`."""
        if len(targets):
            for states in self.tensors:
                written = states[:, :, :columns]
                written.index_copy_(0, targets, written.index_select(0, sources))

    @property
    def token_bytes(self) -> int:
        """The size of the keys and values of one column of one row."""
        return sum(states[0, :, 0].nbytes for states in self.tensors)


def fill_holes(alive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Plans how to drop the rows whose `alive` is False.

    Let n be the number of rows that remain. The holes are the dropped rows before row n. The fillers are the remaining
    rows from row n on. The fillers are copied over the holes; no other rows are copied.

    Returns three lists: the former row number of each remaining row; the fillers; the holes.
    """
    count = int(alive.sum())
    order = torch.arange(count, device=alive.device)
    holes = (~alive[:count]).nonzero()[:, 0]
    fillers = alive[count:].nonzero()[:, 0] + count
    order[holes] = fillers
    return order, fillers, holes


def _suffices(states: Tensor, new: Tensor, rows: int, columns: int) -> bool:
    """Checks whether the allocated tensor is large enough, and has the type, device and head shape of `new`."""
    return (
        states.dtype == new.dtype
        and states.device == new.device
        and states.shape[1::2] == new.shape[1::2]
        and states.shape[0] >= rows
        and states.shape[2] >= columns
    )
