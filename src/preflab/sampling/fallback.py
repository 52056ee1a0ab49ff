"""Samples with `generate` of transformers, for models that preflab's key-value caches do not support.

`generate` runs the model and stores the model's state. A logits processor of preflab draws each token, records it, and
masks all other tokens, so that `generate` must choose the drawn token. Seeds, kept ids and log-probabilities therefore
have the same meaning as in the native sampler.

All prompts of a batch have the same length, so that no padding is needed. State-space models and models with attention
windows may handle padding incorrectly.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from preflab.errors import UserError
from preflab.models.forward import unwrap
from preflab.models.hub import first_line
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.sampling.draw import choose_tokens
from preflab.sampling.request import DrawnRows


def generate(lm: LanguageModel, rows: Sequence[int], stream: Tensor, decoding: Decoding, results: DrawnRows) -> int:
    """Draws completions for the rows `rows` of the request and records them in `results`. Returns the number of prompt
    tokens that the model processed.

    Raises `UserError` if `generate` cannot sample from the model.

    stream: [B, new tokens], the uniform random numbers of all rows of the request.
    """
    base = unwrap(lm.model)
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens, do_sample=False, eos_token_id=list(lm.end_ids), pad_token_id=lm.pad_id
    )
    by_length = sorted(rows, key=lambda row: len(results.prompts[row]))
    with _plain_generation(base):
        for length, group in groupby(by_length, key=lambda row: len(results.prompts[row])):
            same = list(group)
            ids = torch.tensor([list(results.prompts[row]) for row in same], device=results.device)
            drawing = Drawing(torch.tensor(same, device=results.device), length, stream, decoding, results)
            try:
                base.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=config,
                    logits_processor=LogitsProcessorList([drawing]),
                )
            except UserError:
                raise
            except Exception as error:  # `generate` can raise any exception for an unsupported architecture
                raise UserError(
                    f"`generate` of transformers cannot sample from a {type(base).__name__}: {first_line(error)}"
                ) from error
    return sum(len(results.prompts[row]) for row in rows)


class Drawing(LogitsProcessor):
    """A logits processor that draws the next token of each row and masks all other tokens, so that `generate` must
    choose the drawn token."""

    def __init__(self, rows: Tensor, length: int, stream: Tensor, decoding: Decoding, results: DrawnRows) -> None:
        self.rows, self.length, self.stream, self.decoding, self.results = rows, length, stream, decoding, results
        self.alive = torch.ones_like(rows, dtype=torch.bool)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        column = input_ids.shape[1] - self.length
        rows = self.rows[self.alive]
        logits = scores[self.alive].float() / (self.decoding.temperature or 1.0)
        drawn = choose_tokens(logits, self.stream[rows, column], self.decoding)
        goes_on = self.results.add(rows, column, drawn)
        only = torch.full_like(scores, float("-inf"))
        only[:, 0] = 0.0  # a finished row gets token 0, which `generate` replaces by padding
        only[self.alive] = only[self.alive].fill_(float("-inf")).scatter_(1, drawn.tokens[:, None], 0.0)
        self.alive[self.alive.clone()] = goes_on
        return only


@contextmanager
def _plain_generation(base: Any) -> Generator[None]:
    """Replaces the model's generation settings by the defaults of transformers while the context is open. Otherwise
    `generate` would also apply the penalties and limits of the model's settings."""
    shipped = base.generation_config
    base.generation_config = GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = shipped
