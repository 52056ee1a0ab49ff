"""Arranges the rows of a batch for one forward pass, so that padding costs little and a shared prompt is read once.

In the plain layout, each row of the pass is a prompt and its completion, shifted to the left; all padding is on the
right. In a causal model, no token attends to later tokens, so this layout needs no mask and no position ids.

In the packed layout, a row of the pass holds one or more groups, one behind the other. A group is a prompt followed by
several completions to it. A mask lets each completion attend to its prompt and to itself. The position ids of a
completion continue those of its prompt. The states are then those of the plain layout, up to rounding. The tokens of a
prompt are computed once instead of once for each completion, and short groups fill the places that were padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.batch import TokenBatch

WORTHWHILE = 0.85
"""The packed layout is used if it has at most this share of the plain layout's positions, padding included. Its mask
makes attention slower, so that a small saving does not pay."""
PROMPT, PADDING = -1, -2  # the owners of positions that belong to no completion


@dataclass(frozen=True)
class Layout:
    """The input of one forward pass with R rows of L positions, for a batch of B completions of at most T tokens.

    `ids[R,L]`: the token ids. `rows[B]`: the row of the pass that contains each completion. `columns[B,T+1]`: the
    position of the state before each response token, and of the state after the last one. Entries after the end of a
    completion hold an arbitrary valid position. `positions[R,L]` and `visible[R,1,L,L]` are None in the plain layout.
    `visible` is True where the position on the third axis attends to the position on the fourth axis.
    """

    ids: Tensor
    rows: Tensor
    columns: Tensor
    positions: Tensor | None = None
    visible: Tensor | None = None

    def gather(self, hidden: Tensor) -> Tensor:
        """Returns the states [B,T+1,D] of the batch from those of the pass, [R,L,D]."""
        return hidden[self.rows[:, None], self.columns]


def plain_layout(batch: TokenBatch) -> Layout:
    """Returns the layout in which each row of the pass is a row of the batch. The state *before* response token t of a
    prompt of p tokens is at position p + t - 1."""
    width, device = int(batch.lengths.max()), batch.prompt_ids.device
    prompt = batch.prompt_lengths[:, None]
    joined = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)
    shift = batch.prompt_ids.shape[1] - prompt
    source = (torch.arange(width, device=device) + shift).clamp(max=joined.shape[1] - 1)
    steps = torch.arange(batch.completion_ids.shape[1] + 1, device=device)
    columns = (prompt - 1 + steps).clamp(max=width - 1)
    return Layout(joined.gather(1, source), torch.arange(len(batch), device=device), columns)


def packed_layout(batch: TokenBatch, longest: int) -> Layout | None:
    """Returns the layout in which completions to the same prompt form groups of at most `longest` positions, and groups
    fill rows that are as long as the longest group. Returns None if a row of the batch is longer than `longest`, or if
    this layout saves too few positions (see `WORTHWHILE`)."""
    groups = _group_rows(batch, longest)
    prompts, answers = batch.prompt_lengths.tolist(), batch.completion_lengths.tolist()
    sizes = [prompts[group[0]] + sum(answers[row] for row in group) for group in groups]
    if max(sizes) > longest:
        return None
    packed = _fill_rows(sizes)
    if len(packed) * max(sizes) > WORTHWHILE * len(batch) * int(batch.lengths.max()):
        return None
    places = _Places([0] * len(groups), [0] * len(groups), [0] * len(batch), [0] * len(batch))
    for row, members in enumerate(packed):
        start = 0
        for number in members:
            places.rows[number], places.starts[number] = row, start
            behind = start + prompts[groups[number][0]]
            for answer in groups[number]:
                places.groups[answer], places.answer_starts[answer] = number, behind
                behind += answers[answer]
            start = behind
    return _arrange(batch, places, [group[0] for group in groups], max(sizes))


class _Places(NamedTuple):
    """`rows`, `starts`: the row of the pass and the first position of each group. `groups`, `answer_starts`: the group
    and the first position of each completion."""

    rows: list[int]
    starts: list[int]
    groups: list[int]
    answer_starts: list[int]


def _group_rows(batch: TokenBatch, longest: int) -> list[list[int]]:
    """Returns lists of rows that have the same prompt. The prompt and the completions of a list have at most `longest`
    tokens together; a row that is longer forms a list alone."""
    keys = [ids.tobytes() for ids in batch.prompt_ids.cpu().numpy()]
    prompts, answers = batch.prompt_lengths.tolist(), batch.completion_lengths.tolist()
    groups: list[list[int]] = []
    newest: dict[tuple[bytes, int], tuple[list[int], int]] = {}
    for row, key in enumerate(zip(keys, prompts, strict=True)):
        group, filled = newest.get(key, ([], longest))
        if filled + answers[row] > longest:
            group, filled = [], prompts[row]
            groups.append(group)
        group.append(row)
        newest[key] = (group, filled + answers[row])
    return groups


def _fill_rows(sizes: list[int]) -> list[list[int]]:
    """Puts each size, largest first, into the first row that still has room for it. A row has room for the largest
    size. Returns the indices of the sizes in each row."""
    width = max(sizes)
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        row = next((row for row, free in enumerate(room) if sizes[number] <= free), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(number)
        room[row] -= sizes[number]
    return rows


def _arrange(batch: TokenBatch, places: _Places, firsts: list[int], width: int) -> Layout:
    """Writes groups and completions to their places in rows of `width` positions. The prompt of group g is that of the
    batch's row `firsts[g]`."""
    device = batch.prompt_ids.device
    rows, starts, groups, answer_starts = (torch.tensor(values, device=device) for values in places)
    first = torch.tensor(firsts, device=device)
    prompts, longest_prompt = batch.prompt_lengths[first][:, None], batch.prompt_ids.shape[1]
    steps = torch.arange(longest_prompt, device=device) - (longest_prompt - prompts)  # negative in the padding
    in_prompt = steps >= 0
    written = torch.arange(batch.completion_ids.shape[1], device=device).expand_as(batch.mask)
    targets = (
        torch.cat([rows[:, None].expand_as(steps)[in_prompt], rows[groups][:, None].expand_as(written)[batch.mask]]),
        torch.cat([(starts[:, None] + steps)[in_prompt], (answer_starts[:, None] + written)[batch.mask]]),
    )

    def fill(empty: int, of_prompts: Tensor, of_answers: Tensor) -> Tensor:
        values = torch.cat([of_prompts.expand_as(steps)[in_prompt], of_answers.expand_as(written)[batch.mask]])
        return torch.full((int(rows.max()) + 1, width), empty, device=device).index_put(targets, values)

    numbers, answers = torch.arange(len(first), device=device), torch.arange(len(batch), device=device)
    ids = fill(0, batch.prompt_ids[first], batch.completion_ids)
    positions = fill(0, steps, batch.prompt_lengths[:, None] + written)
    group = fill(PADDING, numbers[:, None], groups[:, None])
    owner = fill(PADDING, torch.full_like(steps, PROMPT), answers[:, None])
    same_group = group[:, :, None] == group[:, None, :]
    same_owner = owner[:, :, None] == owner[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    visible = same_group & (same_owner | (owner == PROMPT)[:, None, :]) & earlier
    before = starts[groups][:, None] + batch.prompt_lengths[:, None] - 1
    columns = torch.cat([before, (answer_starts[:, None] + written).clamp(max=width - 1)], dim=1)
    return Layout(ids, rows[groups], columns, positions, visible[:, None])
