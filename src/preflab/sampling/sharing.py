"""Records which rows of a batch share a prompt. Converts states between the order of the rows and an order by
prompt."""

from __future__ import annotations

import torch
from torch import Tensor


class Sharing:
    """Says which rows share a prompt. `owners[N]`: for each row, the index of its prompt. `prompts`: how many prompts
    there are; every prompt has at least one row. `most`: the largest number of rows of a prompt.

    `slots[N]`: the index of each row in the order by prompt, in which every prompt has `most` slots; None if every
    index equals the row number and no slot is empty.
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
        """Orders states of rows by prompt: [N,H,R,D] -> [prompts, H, most * R, D]. If a prompt has fewer than `most`
        rows, the states in its empty slots are 0."""
        heads, group, width = states.shape[1:]
        if self.slots is not None:
            states = states.new_zeros(self.prompts * self.most, heads, group, width).index_copy_(0, self.slots, states)
        if self.most == 1:
            return states
        by_row = states.view(self.prompts, self.most, heads, group, width)
        return by_row.transpose(1, 2).reshape(self.prompts, heads, self.most * group, width)

    def by_row(self, states: Tensor) -> Tensor:
        """Inverts `by_prompt`: [prompts, H, most * R, D] -> [N,H,R,D]."""
        if self.most > 1:
            states = states.unflatten(2, (self.most, -1)).transpose(1, 2).flatten(0, 1)
        return states if self.slots is None else states.index_select(0, self.slots)
