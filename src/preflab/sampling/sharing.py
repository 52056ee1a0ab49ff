"""Records which rows of a batch share a prompt, orders the states of rows by prompt, and orders them back."""

from __future__ import annotations

import torch
from torch import Tensor


class Sharing:
    """`owners[N]`: for each row, the number of its prompt. `prompts`: the number of prompts, each of which has a row.
    `most`: the largest number of rows of a prompt.

    `slots[N]`: the place that each row would have if every prompt had `most` rows; None if the rows already are in
    these places.
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
        """Orders states of rows by prompt: [N,H,R,D] -> [prompts, H, most * R, D]. The states of missing rows are 0."""
        heads, group, width = states.shape[1:]
        if self.slots is not None:
            states = states.new_zeros(self.prompts * self.most, heads, group, width).index_copy_(0, self.slots, states)
        if self.most == 1:
            return states
        by_row = states.view(self.prompts, self.most, heads, group, width)
        return by_row.transpose(1, 2).reshape(self.prompts, heads, self.most * group, width)

    def by_row(self, states: Tensor) -> Tensor:
        """The inverse of `by_prompt`: [prompts, H, most * R, D] -> [N,H,R,D]."""
        if self.most > 1:
            states = states.unflatten(2, (self.most, -1)).transpose(1, 2).flatten(0, 1)
        return states if self.slots is None else states.index_select(0, self.slots)
