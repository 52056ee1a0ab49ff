"""Records which rows of a batch share a prompt. Converts states between two orders: row by row, and grouped by
prompt."""

from __future__ import annotations

import torch
from torch import Tensor


class Sharing:
    """Records which rows share a prompt. `owners[N]`: the index of each row's prompt. `prompts`: the number of prompts.
    Every prompt has at least one row. `most`: the row count of the prompt that has the most rows.

    In the order by prompt, every prompt has `most` slots for its rows. `slots[N]`: the slot of each row. `slots` is
    None if the slot of every row equals the row's index and no slot is empty.
    """

    def __init__(self, owners: Tensor, prompts: int) -> None:
        self.owners, self.rows, self.prompts = owners, len(owners), prompts
        counts = torch.bincount(owners, minlength=prompts)
        self.most = int(counts.max())
        places = torch.arange(self.rows, device=owners.device)
        order = owners.argsort(stable=True)
        ranks = torch.empty_like(owners)
        ranks[order] = places - (counts.cumsum(0) - counts)[owners[order]]
        slots = owners * self.most + ranks
        full = self.rows == prompts * self.most
        self.slots = None if full and torch.equal(slots, places) else slots

    def by_prompt(self, states: Tensor) -> Tensor:
        """Groups the states of rows by prompt: [N,H,R,D] -> [prompts, H, most * R, D]. If a prompt has fewer than
        `most` rows, the states in its empty slots are 0."""
        heads, group, width = states.shape[1:]
        if self.slots is not None:
            states = states.new_zeros(self.prompts * self.most, heads, group, width).index_copy_(0, self.slots, states)
        if self.most == 1:
            return states
        by_row = states.view(self.prompts, self.most, heads, group, width)
        return by_row.transpose(1, 2).reshape(self.prompts, heads, self.most * group, width)

    def by_row(self, states: Tensor) -> Tensor:
        """Reverses `by_prompt`: [prompts, H, most * R, D] -> [N,H,R,D]."""
        if self.most > 1:
            states = states.unflatten(2, (self.most, -1)).transpose(1, 2).flatten(0, 1)
        return states if self.slots is None else states.index_select(0, self.slots)
