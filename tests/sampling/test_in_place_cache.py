"""The cache's bookkeeping: rows that leave are overwritten from the end, and batches share its memory."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from preflab.sampling.cache import InPlaceCache
from preflab.sampling.request import batches


def states(rows: torch.Tensor, columns: int) -> torch.Tensor:
    """[rows, 1, columns, 1] that tell row and column: 10 x row + column."""
    return (10.0 * rows[:, None] + torch.arange(columns))[:, None, :, None]


@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_rows_that_leave_are_filled_from_the_end(alive: list[bool]) -> None:
    """After `keep`, place i holds former row order[i], the order names exactly the rows alive, and a row whose place is
    still inside has not moved."""
    cache = InPlaceCache(1)
    place = cache.begin(len(alive), 4)
    place.last, place.source = len(alive), 1
    rows = torch.arange(len(alive))
    cache.update(states(rows, 3), -states(rows, 3), 0)
    place.column, place.source = 3, None
    order = cache.keep(torch.tensor(alive))
    assert sorted(order.tolist()) == [row for row, stays in enumerate(alive) if stays]
    assert all(order[row] == row for row, stays in enumerate(alive) if stays and row < len(order))
    new = torch.full((len(order), 1, 1, 1), 7.0)
    keys, values = cache.update(new, new, 0)
    assert torch.equal(keys, torch.cat([states(order, 3), new], dim=2))
    assert torch.equal(values, torch.cat([-states(order, 3), new], dim=2))


def test_copies_are_spread_over_rows() -> None:
    """Two prompts twice each by number, and once and three times by index."""
    for source, expected in ((2, [0, 0, 1, 1]), (torch.tensor([0, 1, 1, 1]), [0, 1, 1, 1])):
        cache = InPlaceCache(1)
        place = cache.begin(4, 3)
        place.last, place.source = 4, source
        cache.update(states(torch.arange(2), 2), states(torch.arange(2), 2), 0)
        place.column, place.source = 2, None
        keys, _ = cache.update(torch.zeros(4, 1, 1, 1), torch.zeros(4, 1, 1, 1), 0)
        assert torch.equal(keys[:, :, :2], states(torch.tensor(expected), 2))


def test_memory_serves_the_next_batch_where_it_suffices() -> None:
    """A smaller batch writes where the larger one was; a larger one or another dtype gets memory of its own."""
    cache = InPlaceCache(1)
    held = []
    for rows, columns, dtype in ((4, 6, torch.float32), (2, 3, torch.float32), (5, 6, torch.float32)):
        place = cache.begin(rows, columns)
        place.last, place.source = rows, 1
        new = torch.ones(rows, 1, 2, 1, dtype=dtype)
        cache.update(new, new, 0)
        held.append(cache.blocks[0].columns.tensors[0])
    assert held[0] is held[1]
    assert held[2] is not held[0]
    cache.update(new.bfloat16(), new.bfloat16(), 0)
    keys, values = cache.blocks[0].columns.tensors
    assert keys.dtype == values.dtype == torch.bfloat16
    assert keys.shape == values.shape == (5, 1, 6, 1)
    assert cache.token_bytes == 2 * 2


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=30),
    st.integers(1, 8),
    st.integers(1, 80),
)
def test_batches_hold_every_row_once_within_the_limits(prompts: list[list[int]], rows: int, tokens: int) -> None:
    """Each row in one batch, longest first, at most `rows` of them, within the tokens unless alone, equal prompts side
    by side."""
    cut = batches(prompts, 5, rows, tokens)
    order = [row for batch in cut for row in batch]
    assert sorted(order) == list(range(len(prompts)))
    assert [len(prompts[row]) for row in order] == sorted((len(prompt) for prompt in prompts), reverse=True)
    for batch in cut:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * (len(prompts[batch[0]]) + 5) <= tokens
    runs = [tuple(prompts[row]) for row in order]
    assert sum(a != b for a, b in pairwise(runs)) == len(set(runs)) - 1


def test_batches_are_of_like_size() -> None:
    """300 rows of at most 256: 150 and 150, not 256 and 44."""
    assert [len(batch) for batch in batches([[1]] * 300, 1, 256, 10**9)] == [150, 150]
