"""The tensors: masks from lengths alone, rows that can be selected in any order, micro-batches within their budget."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preflab.batch import (
    Encoded,
    Experience,
    KeptTokens,
    SampledBatch,
    TokenBatch,
    collate,
    collate_pairs,
    micro_batches,
)
from preflab.types import Completion, Preference, Prompt

IDS = st.lists(st.integers(0, 9), min_size=1, max_size=6)  # 0 is what padding holds, and a token like any other
ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)


def contents(batch: TokenBatch) -> list[tuple[list[int], list[int]]]:
    """Each row's prompt and completion, read by its lengths."""
    return [
        (prompt[len(prompt) - p :], completion[:n])
        for prompt, p, completion, n in zip(
            batch.prompt_ids.tolist(),
            batch.prompt_lengths.tolist(),
            batch.completion_ids.tolist(),
            batch.completion_lengths.tolist(),
            strict=True,
        )
    ]


def experience(batch: TokenBatch, kept: KeptTokens | None = None) -> Experience:
    """Every tensor filled with its own flat index."""
    rows, steps = batch.completion_ids.shape
    grid = torch.arange(rows * steps, dtype=torch.float32).view(rows, steps)
    states = torch.arange(rows * (steps + 1), dtype=torch.float32).view(rows, steps + 1)
    return Experience(batch, grid, grid + 1, grid + 2, values=states, returns=grid + 3, kept=kept)


def test_masks_come_from_lengths() -> None:
    """Protects from pad == eos: the id that pads (0) is an ordinary token inside a row, the end token (0 here) counts."""
    batch = collate([[0, 5], [7]], [[0, 3, 0], [4, 0]])
    assert batch.mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.mask.dtype == torch.bool
    assert batch.lengths.tolist() == [5, 3]
    assert batch.tokens == 8
    assert batch.truncated.dtype == torch.bool and not batch.truncated.any()


@given(ROWS)
def test_prompts_end_and_completions_begin_at_the_seam(rows: list[tuple[list[int], list[int]]]) -> None:
    """Protects the convention: prompts are padded on the left, completions on the right, nothing is lost."""
    batch = collate([prompt for prompt, _ in rows], [completion for _, completion in rows])
    assert contents(batch) == rows
    assert batch.prompt_ids[:, -1].tolist() == [prompt[-1] for prompt, _ in rows]
    assert batch.completion_ids[:, 0].tolist() == [completion[0] for _, completion in rows]


@given(st.data(), ROWS)
def test_selected_rows_are_as_if_collated_alone(data: st.DataObject, rows: list[tuple[list[int], list[int]]]) -> None:
    """Protects micro-batches: a selection in any order is trimmed to its own longest prompt and completion."""
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    batch = collate([p for p, _ in rows], [c for _, c in rows], [len(c) > 3 for _, c in rows]).select(chosen)
    alone = collate([rows[i][0] for i in chosen], [rows[i][1] for i in chosen], [len(rows[i][1]) > 3 for i in chosen])
    for name in ("prompt_ids", "prompt_lengths", "completion_ids", "completion_lengths", "truncated"):
        assert torch.equal(getattr(batch, name), getattr(alone, name)), name


@pytest.mark.parametrize(("prompts", "completions"), [([], []), ([[]], [[1]]), ([[1]], [[]])])
def test_empty_rows_are_refused(prompts: list[list[int]], completions: list[list[int]]) -> None:
    """Protects from a row without a state to predict from, or without a token to count."""
    with pytest.raises(ValueError, match="at least one"):
        collate(prompts, completions)


def test_pairs_are_two_batches_over_the_same_prompts() -> None:
    """Protects from interleaved rows and from references that part from their pairs when rows are selected."""
    ids = {"p": [1, 2], "q": [3], "a": [4], "b": [5, 6], "c": [7, 8, 9], "d": [1]}
    rows = [
        Preference(Prompt("p", ()), Completion("a"), Completion("c", truncated=True)),
        Preference(Prompt("q", ()), Completion("b"), Completion("d")),
    ]
    pairs = collate_pairs(
        rows, lambda prompt, answer, _: Encoded(ids[prompt.id], ids[answer.text], answer.truncated), limit=9
    )
    assert torch.equal(pairs.chosen.prompt_ids, pairs.rejected.prompt_ids)
    assert pairs.lengths.tolist() == [(2 + 1) + (2 + 3), (1 + 2) + (1 + 1)] and pairs.tokens == 13
    assert pairs.rejected.truncated.tolist() == [True, False]
    labelled = replace(
        pairs, reference_chosen=torch.tensor([-1.0, -2.0]), reference_rejected=torch.tensor([-3.0, -4.0])
    )
    second = labelled.select([1]).to("cpu")
    assert contents(second.chosen) == [([3], [5, 6])] and contents(second.rejected) == [([3], [1])]
    assert second.reference_chosen is not None and second.reference_rejected is not None
    assert second.reference_chosen.tolist() == [-2.0] and second.reference_rejected.tolist() == [-4.0]
    assert pairs.select([0]).reference_chosen is None


def test_experience_keeps_a_value_more_than_tokens() -> None:
    """Protects the bootstrap: a selection trimmed to T tokens keeps T+1 values, and the ids kept in sampling."""
    batch = collate([[1], [2], [3]], [[1, 2, 3, 4], [5], [6, 7]])
    kept = KeptTokens(torch.arange(3 * 4 * 2).view(3, 4, 2), torch.full((3, 4), 2))
    part = experience(batch, kept).select([2, 1]).to("cpu")
    assert part.logprobs.tolist() == [[8, 9], [4, 5]]
    assert part.advantages.tolist() == [[10, 11], [6, 7]]
    assert part.values is not None and part.values.tolist() == [[10, 11, 12], [5, 6, 7]]
    assert part.returns is not None and part.returns.tolist() == [[11, 12], [7, 8]]
    assert part.kept is not None and part.kept.ids.shape == (2, 2, 2) and part.kept.counts.shape == (2, 2)
    assert part.kept.ids[0].tolist() == kept.ids[2, :2].tolist()
    critic_free = Experience(batch, part.logprobs, part.logprobs, part.logprobs).select([0])
    assert critic_free.values is None and critic_free.returns is None
    sampled = SampledBatch(batch, kept).select([1])
    assert sampled.kept is not None and sampled.kept.ids.tolist() == kept.ids[1:2, :1].tolist()
    assert SampledBatch(batch).select([0]).kept is None


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 100))
def test_micro_batches_part_the_rows_within_the_budget(lengths: list[int], budget: int) -> None:
    """Protects memory and data: every row once, rows x longest within the budget unless a row stands alone, longest
    first (so that running out of memory happens in the first step), and never two batches that would fit in one."""
    batches = micro_batches(torch.tensor(lengths), budget)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget
    flat = [lengths[row] for rows in batches for row in rows]
    assert flat == sorted(lengths, reverse=True)
    for rows, following in pairwise(batches):
        assert (len(rows) + 1) * max(lengths[row] for row in (*rows, following[0])) > budget
