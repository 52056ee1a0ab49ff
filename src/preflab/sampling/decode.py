"""Runs the model on a batch of rows: first on the prompts (prefill), then on one new token of each row in each step.

All prompts begin at column 0 and are padded on the right, as in `models.forward`. The prefill needs no mask, since no
token of a causal model attends to later columns. The new tokens of a step are written to one common column after the
longest prompt. The gap between the end of a shorter prompt and the first new token is masked. The position ids of a row
do not count this gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from preflab.models.forward import backbone
from preflab.sampling.cache import InPlaceCache

# The largest number of tokens in a prefill pass. On a CPU, the activations of a pass should fit the core's cache.
PREFILL_TOKENS = {"cpu": 1024}
PREFILL_TOKENS_ELSEWHERE = 16384


class DecodeBatch:
    """A batch of prompts with their key-value cache. Equal prompts must be in consecutive rows.

    `hidden[N,D]`: for each of the N remaining rows, the last hidden state, from which the next token is drawn.
    `tokens_read`: the number of prompt tokens in the prefill; the tokens of equal prompts are counted once.
    """

    def __init__(self, base: Any, cache: InPlaceCache, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        self.backbone = backbone(base)
        self.device = base.device
        self.positions = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        width = int(self.positions.max())
        columns = width + max(new_tokens - 1, 0)
        self.cache = cache
        place = cache.begin(len(prompts), columns)
        groups = [(list(prompt), len(list(group))) for prompt, group in groupby(prompts)]
        self.tokens_read = sum(len(prompt) for prompt, _ in groups)
        self.hidden = self._prefill(groups)
        place.first, place.last, place.column, place.source = 0, len(prompts), width, None
        self.mask = self._mask(width, columns)

    def step(self, tokens: Tensor) -> None:
        """Runs the model on the newest token of each row. `tokens`: [N]."""
        place = self.cache.place
        self.hidden = self.backbone(
            input_ids=tokens[:, None],
            position_ids=self.positions[:, None],
            attention_mask=None if self.mask is None else self.mask[..., : place.column + 1],
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        self.positions = self.positions + 1
        place.column += 1

    def keep(self, alive: Tensor) -> Tensor:
        """Drops the rows whose `alive` is False. Returns the former row number of each remaining row."""
        order = self.cache.keep(alive)
        self.positions = self.positions[order]
        self.mask = None if self.mask is None else self.mask[order]
        return order

    def _prefill(self, groups: list[tuple[list[int], int]]) -> Tensor:
        """Runs the model once on each distinct prompt. Returns the last hidden state of each row, [N,D]."""
        place, states = self.cache.place, list[Tensor]()
        for chunk in _chunks(groups, PREFILL_TOKENS.get(self.device.type, PREFILL_TOKENS_ELSEWHERE)):
            lengths = torch.tensor([len(prompt) for prompt, _ in chunk], device=self.device)
            width = int(lengths.max())
            # Prompts are padded with their own last token: some models warn about a pad id without a mask.
            ids = torch.tensor([prompt + prompt[-1:] * (width - len(prompt)) for prompt, _ in chunk])
            copies = torch.tensor([count for _, count in chunk], device=self.device)
            source = torch.arange(len(chunk), device=self.device).repeat_interleave(copies)
            place.source = chunk[0][1] if len({count for _, count in chunk}) == 1 else source
            place.first, place.last = place.last, place.last + len(source)
            hidden = self.backbone(
                input_ids=ids.to(self.device), past_key_values=self.cache, use_cache=True
            ).last_hidden_state
            states.append(hidden[source, lengths[source] - 1])
        return torch.cat(states)

    def _mask(self, width: int, columns: int) -> Tensor | None:
        """Returns the additive mask [N,1,1,columns], which is minus infinity between the end of a prompt and the first
        new token; None if all prompts have the same length."""
        if bool((self.positions == width).all()):
            return None
        places = torch.arange(columns, device=self.device)
        gaps = (places >= self.positions[:, None]) & (places < width)
        mask = torch.zeros(gaps.shape, dtype=self.hidden.dtype, device=self.device)
        return mask.masked_fill_(gaps, float("-inf"))[:, None, None, :]


def _chunks(groups: list[tuple[list[int], int]], budget: int) -> list[list[tuple[list[int], int]]]:
    """Cuts the groups of equal prompts, in order, into chunks. In a chunk, the number of groups times the length of the
    longest prompt is at most `budget`; a prompt longer than `budget` is a chunk of its own."""
    chunks: list[list[tuple[list[int], int]]] = []
    longest = 0
    for group in groups:
        longest = max(longest, len(group[0]))
        if chunks and (len(chunks[-1]) + 1) * longest <= budget:
            chunks[-1].append(group)
        else:
            chunks.append([group])
            longest = len(group[0])
    return chunks
