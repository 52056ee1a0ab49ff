"""transformers' `generate` for architectures that the in-place cache does not serve.

`generate` runs the model and keeps whatever state it has; the tokens are still drawn here, by a logits processor that
draws, files the result and leaves `generate` a single possible token. Seeds, kept ids and log-probabilities therefore
mean the same as in the native path. Rows in a batch have prompts of one length: no padding, which a state-space model
or a window of attention may treat in its own way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from preflab.models.forward import unwrap
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.sampling.draw import choose
from preflab.sampling.request import DrawnRows


def generate(lm: LanguageModel, rows: Sequence[int], stream: Tensor, decoding: Decoding, results: DrawnRows) -> int:
    """Completes the given rows of the request and files them in `results`; returns the prompt tokens that were read."""
    base = unwrap(lm.model)
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=list(lm.end_ids),
        pad_token_id=lm.pad_id,
    )
    by_length = sorted(rows, key=lambda row: len(results.prompts[row]))
    with _plain_generation(base):
        for length, group in groupby(by_length, key=lambda row: len(results.prompts[row])):
            same = list(group)
            ids = torch.tensor([list(results.prompts[row]) for row in same], device=results.device)
            drawing = Drawing(torch.tensor(same, device=results.device), length, stream, decoding, results)
            base.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                logits_processor=LogitsProcessorList([drawing]),
            )
    return sum(len(results.prompts[row]) for row in rows)


class Drawing(LogitsProcessor):
    """Draws each row's token and leaves `generate` no other."""

    def __init__(self, rows: Tensor, length: int, stream: Tensor, decoding: Decoding, results: DrawnRows) -> None:
        self.rows, self.length, self.stream, self.decoding, self.results = rows, length, stream, decoding, results
        self.alive = torch.ones_like(rows, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        column = input_ids.shape[1] - self.length
        rows = self.rows[self.alive]
        logits = scores[self.alive].float() / (self.decoding.temperature or 1.0)
        drawn = choose(logits, self.stream[rows, column], self.decoding)
        goes_on = self.results.add(rows, column, drawn)
        only = torch.full_like(scores, float("-inf"))
        only[:, 0] = 0.0  # a finished row: `generate` replaces its token by padding
        only[self.alive] = only[self.alive].fill_(float("-inf")).scatter_(1, drawn.tokens[:, None], 0.0)
        self.alive[self.alive.clone()] = goes_on
        return only


@contextmanager
def _plain_generation(base: Any) -> Generator[None]:
    """Hides the defaults that came with the model: `generate` would apply its penalties and limits on top."""
    shipped = base.generation_config
    base.generation_config = GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = shipped
