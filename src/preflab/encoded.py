"""Encodes each row of training data into token ids when the row is first selected.

A run on many rows therefore starts without a long wait. The ids are stored without padding, so that the memory does not
depend on the longest row.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from preflab.batch import Batch, Encode, Encoded
from preflab.types import Completion, Prompt

CHUNK = 1024
"""The largest number of rows in a batch that `EncodedRows.measure` passes to its function."""
Source = TypeVar("Source")
Taken = TypeVar("Taken", contravariant=True)
Made = TypeVar("Made", bound=Batch, covariant=True)


class Collate(Protocol[Taken, Made]):
    """A function that makes a batch from rows, such as `batch.collate_pairs`."""

    def __call__(self, rows: Sequence[Taken], encode: Encode, *, limit: int) -> Made: ...


class EncodedRows(Generic[Source, Made]):
    """Rows of training data. `select` returns a batch of some of these rows.

    `collate` makes a batch from rows. `encode` and `limit` are arguments of `collate`; see `batch.collate_pairs`. Each
    answer is encoded once.
    """

    def __init__(self, rows: Sequence[Source], collate: Collate[Source, Made], encode: Encode, *, limit: int) -> None:
        self.rows = rows
        self._collate = collate
        self._encode = encode
        self._limit = limit
        self._stored: dict[tuple[int, int], tuple[array[int], array[int], bool]] = {}
        if not rows:
            collate(rows, encode, limit=limit)  # raises a `UserError` that names the missing kind of rows

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, rows: Sequence[int] | Tensor) -> Made:
        """Returns a batch of these rows, padded to their longest prompt and their longest completion."""
        return self._collate([self.rows[int(row)] for row in rows], self._encode_once, limit=self._limit)

    @property
    def lengths(self) -> Tensor:
        """Int[B]: the number of tokens of each row, as the `lengths` of a batch count them. Reading this property
        encodes all rows."""
        return self.measure(lambda batch: batch.lengths)

    @property
    def tokens(self) -> int:
        """The number of tokens of all rows, without padding. Reading this property encodes all rows."""
        return int(self.lengths.sum())

    def measure(self, function: Any) -> Tensor:
        """Calls `function` on batches of at most `CHUNK` rows and returns its results for all rows, in order."""
        parts = [range(start, min(start + CHUNK, len(self))) for start in range(0, len(self), CHUNK)]
        return torch.cat([function(self.select(part)) for part in parts])

    def _encode_once(self, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
        """Encodes an answer with its prompt, or returns the stored token ids. The key of the stored token ids is the
        pair (`id(prompt)`, `id(answer)`). This key stays unique because `rows` keeps both objects alive."""
        key = (id(prompt), id(answer))
        if key not in self._stored:
            encoded = self._encode(prompt, answer, limit)
            self._stored[key] = (array("i", encoded.prompt), array("i", encoded.answer), encoded.truncated)
        stored = self._stored[key]
        return Encoded(list(stored[0]), list(stored[1]), stored[2])
