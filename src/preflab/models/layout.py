"""Arranges the rows of a batch for one forward pass. The arrangement saves padding, and computes a prompt only once if
several completions have the same prompt.

In the plain layout, each row of the pass is a prompt and its completion, shifted to the left. All padding is on the
right. In a causal model, tokens do not attend to later tokens, so this layout needs neither a mask nor position ids.

In the packed layout, a row of the pass contains one or more groups, one after the other. A group is a prompt followed
by its completions. A mask lets each completion attend only to its prompt and to itself. The position ids of a
completion continue the position ids of its prompt. The states therefore equal the states of the plain layout, up to
rounding. The tokens of a prompt are computed once instead of once for each completion, and several short groups share
one row, which saves padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from preflab.batch import TokenBatch

WORTHWHILE = 0.85
"""The packed layout is used if it has at most this fraction of the positions of the plain layout. Positions with
padding are counted too. The mask of the packed layout makes attention slower, so a small saving is not worthwhile."""
PROMPT, PADDING = -1, -2  # at positions in prompts and in padding, these replace the index of a completion


@dataclass(frozen=True)
class Layout:
    """The input of one forward pass with R rows of L positions, for a batch of B completions of at most T tokens.

    `ids[R,L]`: the token ids. `rows[B]`: the row of the pass that contains each completion. `columns[B,T+1]`: the
    position of the state before each response token, and of the state after the last response token. Entries after the
    end of a completion contain an arbitrary valid position. `positions[R,L]`: the position ids. `visible[R,1,L,L]`: the
    mask, True where the position on the third axis attends to the position on the fourth axis. `positions` and
    `visible` are None in the plain layout.
    """

    ids: Tensor
    rows: Tensor
    columns: Tensor
    positions: Tensor | None = None
    visible: Tensor | None = None

    def gather(self, hidden: Tensor) -> Tensor:
        """Returns the states [B,T+1,D] of the batch. `hidden`: the states [R,L,D] of the forward pass."""
        return hidden[self.rows[:, None], self.columns]


def plain_layout(batch: TokenBatch) -> Layout:
    """Returns the layout in which each row of the pass is a row of the batch. For a prompt of p tokens, the state
    *before* response token t is at position p + t - 1."""
    width, device = int(batch.lengths.max()), batch.prompt_ids.device
    prompt = batch.prompt_lengths[:, None]
    joined = torch.cat([batch.prompt_ids, batch.completion_ids], dim=1)
    shift = batch.prompt_ids.shape[1] - prompt
    source = (torch.arange(width, device=device) + shift).clamp(max=joined.shape[1] - 1)
    steps = torch.arange(batch.completion_ids.shape[1] + 1, device=device)
    columns = (prompt - 1 + steps).clamp(max=width - 1)
    return Layout(joined.gather(1, source), torch.arange(len(batch), device=device), columns)


def packed_layout(batch: TokenBatch, longest: int) -> Layout | None:
    """Returns the packed layout of a batch. A group is a prompt with some of its completions, and has at most `longest`
    positions. The forward pass over the packed batch has rows of the length of the longest group, and puts one or more
    groups into a row. Returns None if a prompt with one completion is longer than `longest`, or if this layout saves
    too few positions (see `WORTHWHILE`)."""
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
    """The places of groups and completions in a forward pass. `rows`: the row that contains each group. `starts`: the
    first position of each group. `groups`: the group that contains each completion. `answer_starts`: the first position
    of each completion."""

    rows: list[int]
    starts: list[int]
    groups: list[int]
    answer_starts: list[int]


def _group_rows(batch: TokenBatch, longest: int) -> list[list[int]]:
    """Returns groups of rows. All rows of a group have the same prompt. This prompt and the completions of the group
    have at most `longest` tokens in total. A row with more than `longest` tokens forms a group by itself."""
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
    """Distributes groups of the given sizes over rows. Each group, from the largest to the smallest, goes into the
    first row that still has enough room. A row is as long as the largest group. Returns the indices of the groups in
    each row."""
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
    """Returns the layout in which groups and completions are at the given places, in rows of `width` positions. The
    prompt of group g is the prompt of the batch's row `firsts[g]`."""
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
