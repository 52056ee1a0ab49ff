"""Prompts stored once for several rows: the attention over both parts is plain attention, whichever rows are left."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from preflab.sampling.shared import SharedCache
from preflab.sampling.sharing import Sharing

PROMPTS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=4)
"""For each prompt its length and the number of its rows."""


def owners_of(copies: list[int]) -> torch.Tensor:
    return torch.arange(len(copies)).repeat_interleave(torch.tensor(copies))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 99))
def test_states_come_back_to_their_rows(copies: list[int], seed: int) -> None:
    """Rows in any order: what `by_prompt` orders, `by_row` restores; each prompt has the states of its rows and no others."""
    owners = owners_of(copies)[torch.randperm(sum(copies), generator=torch.Generator().manual_seed(seed))]
    sharing = Sharing(owners, len(copies))
    states = torch.arange(1.0, 1 + len(owners) * 6).view(-1, 1, 3, 2)
    ordered = sharing.by_prompt(states)
    assert torch.equal(sharing.by_row(ordered), states)
    for prompt in range(len(copies)):
        held = ordered[prompt, 0].view(-1, 3, 2)
        assert sorted(x for x in held[:, 0, 0].tolist() if x) == sorted(states[owners == prompt, 0, 0, 0].tolist())


class Plain:
    """All keys and values of each row, and one new token attending to them, row by row."""

    def __init__(self, lengths: list[int], copies: list[int], keys: torch.Tensor, values: torch.Tensor) -> None:
        owners = owners_of(copies).tolist()
        self.rows = [[keys[p, :, : lengths[p]], values[p, :, : lengths[p]]] for p in owners]

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        answers = []
        for row, (query, key, value) in enumerate(zip(queries, keys, values, strict=True)):
            old_keys, old_values = self.rows[row]
            self.rows[row] = [torch.cat([old_keys, key], 1), torch.cat([old_values, value], 1)]
            all_keys, all_values = (states.repeat_interleave(2, 0) for states in self.rows[row])
            answers.append(scaled_dot_product_attention(query, all_keys, all_values, scale=0.7))
        return torch.stack(answers)


@given(PROMPTS, st.data())
def test_attention_in_two_parts_is_attention(prompts: list[tuple[int, int]], data: st.DataObject) -> None:
    """Two key heads of two query heads each, values wider than keys, prompts of several lengths in two prefill passes, four
    tokens drawn, any rows dropped after each: the attention of every row equals that over all its columns."""
    draw = torch.Generator().manual_seed(0)
    lengths, copies = [length for length, _ in prompts], [count for _, count in prompts]
    cache = SharedCache(1)
    block = cache.blocks[0]
    for _ in range(2):  # the second batch finds the first one's memory
        keys = torch.randn(len(prompts), 2, max(lengths), 4, generator=draw)
        values = torch.randn(len(prompts), 2, max(lengths), 6, generator=draw)
        plain = Plain(lengths, copies, keys, values)
        cache.begin(torch.tensor(lengths), torch.tensor(copies), 5)
        for first, last in ((0, 1), (1, len(prompts))):
            cache.position.first, cache.position.last = first, last
            block.update(keys[first:last], values[first:last])
        cache.decode(torch.tensor(lengths), torch.float32)
        for _ in range(4):
            rows = len(plain.rows)
            query, key, value = (torch.randn(rows, h, 1, d, generator=draw) for h, d in ((4, 4), (2, 4), (2, 6)))
            answer = block.attend(query, *block.update(key, value), 0.7)
            torch.testing.assert_close(answer, plain.attend(query, key, value), atol=1e-5, rtol=1e-5)
            cache.advance()
            alive = torch.tensor(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
            if alive.any():
                plain.rows = [plain.rows[row] for row in cache.keep(alive).tolist()]


def test_prompts_without_rows_leave() -> None:
    """Three prompts of two rows; the rows of the middle one end: two prompts are left, the last in the middle's place."""
    cache = SharedCache(1)
    cache.begin(torch.tensor([2, 2, 2]), torch.tensor([2, 2, 2]), 3)
    states = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None].expand(3, 1, 2, 1)
    cache.position.last = 3
    cache.blocks[0].update(states, states)
    cache.decode(torch.tensor([2, 2, 2]), torch.float32)
    assert cache.keep(torch.tensor([True, True, False, False, True, True])).tolist() == [0, 1, 4, 5]
    assert cache.position.sharing.prompts == 2
    assert cache.blocks[0].prompts.tensors[0][:2, 0, 0, 0].tolist() == [1.0, 3.0]
