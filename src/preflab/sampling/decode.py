"""Runs the model on a batch of rows. The first passes (prefill) read the prompts. Each decoding step reads one new
token of each row.

All prompts begin at column 0 and are padded on the right, as in `models.forward`. The prefill needs no mask, because no
token of a causal model attends to later columns. The position ids of a row do not count its padding. The subclasses of
`DecodeBatch` in `sampling.ways` store keys and values and run a step in different ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor

from preflab.models.forward import backbone
from preflab.sampling.cache import InPlaceCache
from preflab.sampling.shared import SharedCache

# The largest number of tokens in a prefill pass. On a CPU, the activations of a pass should fit into a core's cache.
PREFILL_TOKENS = {"cpu": 1024}
PREFILL_TOKENS_ELSEWHERE = 16384


class DecodeBatch(ABC):
    """A batch of prompts with their key-value cache. Equal prompts must be in consecutive rows.

    `hidden[N,D]`: the last hidden state of each of the N remaining rows, from which the next token is drawn.
    `positions[N]`: the position id of the next token of each row. `tokens_read`: the number of prompt tokens in the
    prefill. Tokens of equal prompts are counted once.
    """

    cache_type: ClassVar[type[InPlaceCache] | type[SharedCache]]
    cache: Any

    def __init__(self, base: Any, cache: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        self.backbone = backbone(base)
        self.device = base.device
        self.cache = cache
        groups = [(list(prompt), len(list(rows))) for prompt, rows in groupby(prompts)]
        self.lengths = torch.tensor([len(prompt) for prompt, _ in groups], device=self.device)
        self.copies = torch.tensor([count for _, count in groups], device=self.device)
        self.tokens_read = int(self.lengths.sum())
        self.positions = self.lengths.repeat_interleave(self.copies)
        self._begin(new_tokens)
        self.hidden = self._prefill([prompt for prompt, _ in groups]).repeat_interleave(self.copies, dim=0)
        self._end_prefill()

    @classmethod
    @abstractmethod
    def objection(cls, base: Any) -> str:
        """Returns the reason why this class cannot decode with a model, or '' if there is no such reason. Checks only
        the modules and settings of the model, without running the model."""

    @abstractmethod
    def step(self, tokens: Tensor) -> None:
        """Runs the model on the newest token of each row. `tokens`: [N]."""

    def keep(self, alive: Tensor) -> Tensor:
        """Removes the rows whose `alive` is False. Returns, for each remaining row, the row's index before the
        removal."""
        order: Tensor = self.cache.keep(alive)
        self.positions = self.positions[order]
        return order

    @abstractmethod
    def _begin(self, new_tokens: int) -> None:
        """Empties the cache for this batch."""

    @abstractmethod
    def _expect(self, first: int, last: int) -> None:
        """Tells the cache that the next prefill pass reads the distinct prompts from `first` up to `last`
        (excluded)."""

    @abstractmethod
    def _end_prefill(self) -> None:
        """Tells the cache that the next pass is a decoding step."""

    def _prefill(self, prompts: list[list[int]]) -> Tensor:
        """Runs the model once on each distinct prompt. Returns the last hidden state of each prompt, [G,D]."""
        states, first = list[Tensor](), 0
        for chunk in _chunks(prompts, PREFILL_TOKENS.get(self.device.type, PREFILL_TOKENS_ELSEWHERE)):
            last = first + len(chunk)
            self._expect(first, last)
            width = max(map(len, chunk))
            # A prompt is padded with its last token, because some models warn about pad ids without a mask.
            ids = torch.tensor([prompt + prompt[-1:] * (width - len(prompt)) for prompt in chunk], device=self.device)
            states.append(self._read(ids, self.lengths[first:last]))
            first = last
        return torch.cat(states)

    def _read(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Runs the model on the prompts `ids[G,P]`, which have `lengths[G]` tokens without padding. Returns the hidden
        state of each prompt's last token, [G,D]."""
        hidden = self.backbone(input_ids=ids, past_key_values=self.cache, use_cache=True).last_hidden_state
        return hidden[torch.arange(len(ids), device=self.device), lengths - 1]


def _chunks(prompts: list[list[int]], budget: int) -> list[list[list[int]]]:
    """Divides the prompts into chunks and keeps their order. The number of prompts in a chunk times the length of its
    longest prompt is at most `budget`. A prompt that is longer than `budget` forms a chunk alone."""
    chunks: list[list[list[int]]] = []
    longest = 0
    for prompt in prompts:
        longest = max(longest, len(prompt))
        if chunks and (len(chunks[-1]) + 1) * longest <= budget:
            chunks[-1].append(prompt)
        else:
            chunks.append([prompt])
            longest = len(prompt)
    return chunks
