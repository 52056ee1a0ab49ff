"""Arranges the rows of a batch for one forward pass, so that the padding costs little and a shared prompt is read once.

In the plain layout, each row of the pass is a prompt and its completion, shifted to the left; all padding is on the
right. In a causal model, no token attends to later tokens, so that this layout needs neither mask nor position ids.

In the shared layout, a row of the pass is a prompt followed by several completions to it. A mask lets each completion
attend to the prompt and to itself, and its position ids continue those of the prompt. The states are then those of the
plain layout, up to rounding, and the prompt's tokens are computed once instead of once for each completion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from preflab.batch import TokenBatch

WORTHWHILE = 0.9
"""The shared layout is used if it has at most this share of the plain layout's positions, padding included. Its mask
makes attention slower, so that a small saving does not pay."""
PROMPT, PADDING = -1, -2  # owners of a position that belongs to no completion


@dataclass(frozen=True)
class Layout:
    """The input of one forward pass with R rows of L positions, for a batch of B completions of at most T tokens.

    `ids[R,L]`: the token ids. `rows[B]`: the row of the pass that contains each completion. `columns[B,T+1]`: the
    position of the state before each response token, and after the last one; a position after the last one is any valid
    position. `positions[R,L]` and `visible[R,1,L,L]` are None in the plain layout. `visible` is True where the position
    of the third axis attends to that of the fourth.
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


def shared_layout(batch: TokenBatch, longest: int) -> Layout | None:
    """Returns the layout in which completions to the same prompt share a row of at most `longest` positions. Returns
    None if this layout saves too few positions (see `WORTHWHILE`), or if `longest` is 0."""
    if not longest:
        return None
    groups = _group_rows(batch, longest)
    prompts, answers = batch.prompt_lengths.tolist(), batch.completion_lengths.tolist()
    width = max(prompts[group[0]] + sum(answers[row] for row in group) for group in groups)
    if len(groups) * width > WORTHWHILE * len(batch) * int(batch.lengths.max()):
        return None
    rows, starts = [0] * len(batch), [0] * len(batch)
    for number, group in enumerate(groups):
        start = prompts[group[0]]
        for row in group:
            rows[row], starts[row] = number, start
            start += answers[row]
    firsts = [group[0] for group in groups]
    return _arrange(batch, *(torch.tensor(values, device=batch.prompt_ids.device) for values in (rows, starts, firsts)))


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


def _arrange(batch: TokenBatch, rows: Tensor, starts: Tensor, firsts: Tensor) -> Layout:
    """Writes each completion b into the row `rows[b]` from the position `starts[b]` on, behind the prompt of the batch's
    row `firsts[rows[b]]`."""
    device, mask = rows.device, batch.mask
    prompts = batch.prompt_lengths[firsts][:, None]
    width = int((starts + batch.completion_lengths).max())
    places = torch.arange(width, device=device)
    shift = batch.prompt_ids.shape[1] - prompts
    ids = batch.prompt_ids[firsts].gather(1, (places + shift).clamp(max=batch.prompt_ids.shape[1] - 1))
    in_prompt = places < prompts
    owners = torch.where(in_prompt, PROMPT, PADDING)
    positions = torch.where(in_prompt, places, 0)
    steps = torch.arange(batch.completion_ids.shape[1], device=device)
    targets = (rows[:, None].expand_as(mask)[mask], (starts[:, None] + steps)[mask])
    ids = ids.index_put(targets, batch.completion_ids[mask])
    positions = positions.index_put(targets, (batch.prompt_lengths[:, None] + steps)[mask])
    owners = owners.index_put(targets, torch.arange(len(batch), device=device)[:, None].expand_as(mask)[mask])
    same = owners[:, :, None] == owners[:, None, :]
    visible = (same | in_prompt[:, None, :]) & (places[:, None] >= places)
    before = batch.prompt_lengths[:, None] - 1
    columns = torch.cat([before, (starts[:, None] + steps).clamp(max=width - 1)], dim=1)
    return Layout(ids, rows, columns, positions, visible[:, None])
