"""Stores the keys and values of a batch for one layer. The memory is allocated once and written in place.

A row stores one sequence of the batch. A column stores one token of each row.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Columns:
    """The memory for the keys and values of one layer. `tensors`: the keys and the values, each of shape [rows, heads,
    columns, width]. `tensors` is empty before the first `allocate`."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def holds(self, rows: int, columns: int, keys: Tensor, values: Tensor) -> bool:
        """Checks whether the allocated memory has enough rows and columns, and has the same type, device and head shape
        as `keys` and `values`."""
        pairs = zip(self.tensors, (keys, values), strict=False)
        return bool(self.tensors) and all(_suffices(states, new, rows, columns) for states, new in pairs)

    def allocate(self, rows: int, columns: int, keys: Tensor, values: Tensor) -> None:
        """Allocates memory that is filled with zeros. Uninitialised memory may contain NaN. Attention multiplies masked
        values by 0, and 0 times NaN is NaN."""
        sizes = [(rows, states.shape[1], columns, states.shape[3]) for states in (keys, values)]
        self.tensors = [states.new_zeros(size) for states, size in zip((keys, values), sizes, strict=True)]

    def write(self, rows: slice, column: int, keys: Tensor, values: Tensor) -> None:
        """Writes the new keys and values of the rows `rows` into the columns from `column` on."""
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
        """The size in bytes of the keys and values of one column of one row."""
        return sum(states[0, :, 0].nbytes for states in self.tensors)


def fill_holes(alive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Plans how to remove the rows whose `alive` is False.

    Let n be the number of rows that remain. The holes are the removed rows with an index below n. The fillers are the
    remaining rows with an index of n or more. Only the fillers are copied, each into one hole.

    Returns three index tensors: the former index of each remaining row, the fillers, and the holes.
    """
    count = int(alive.sum())
    order = torch.arange(count, device=alive.device)
    holes = (~alive[:count]).nonzero()[:, 0]
    fillers = alive[count:].nonzero()[:, 0] + count
    order[holes] = fillers
    return order, fillers, holes


def _suffices(states: Tensor, new: Tensor, rows: int, columns: int) -> bool:
    """Checks whether the allocated tensor is large enough, and has the same type, device and head shape as `new`."""
    return (
        states.dtype == new.dtype
        and states.device == new.device
        and states.shape[1::2] == new.shape[1::2]
        and states.shape[0] >= rows
        and states.shape[2] >= columns
    )
