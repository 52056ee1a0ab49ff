"""From records to ids, cut to a length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from preflab import ops
from preflab.batch import PairBatch, TokenBatch, collate, collate_pairs
from preflab.errors import UserError
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.types import Completion, Demonstration, Preference, Prompt


class Encoded(NamedTuple):
    """Ids of a prompt and of an answer to it; `truncated`: the answer has no end-of-turn token."""

    prompt: list[int]
    answer: list[int]
    truncated: bool


def encode_answer(lm: LanguageModel, prompt: Prompt, answer: Completion, limit: int) -> Encoded:
    """Ids of prompt and answer, the answer cut at `limit` tokens (its end-of-turn token goes with the cut).

    A truncated answer without any text is an end-of-turn token alone, since a row needs a token.
    """
    prompt_ids = lm.encode_prompt(prompt)
    answer_ids = lm.encode_completion(answer) or [lm.end_ids[0]]
    kept = answer_ids[:limit]
    lm.check_fits(prompt, prompt_ids, len(kept))
    return Encoded(prompt_ids, kept, answer.truncated or len(answer_ids) > limit)


def encode_demonstrations(lm: LanguageModel, rows: Sequence[Demonstration], limit: int) -> TokenBatch:
    """All demonstrations as one batch (to select rows from). Raises `UserError` when there is none."""
    if not rows:
        raise UserError("The testbed has no demonstrations: SFT needs some.")
    encoded = [encode_answer(lm, row.prompt, row.completion, limit) for row in rows]
    return collate([e.prompt for e in encoded], [e.answer for e in encoded], [e.truncated for e in encoded])


def encode_pairs(lm: LanguageModel, rows: Sequence[Preference], limit: int) -> PairBatch:
    """All pairs as one batch (to select rows from). Raises `UserError` when there is none."""
    if not rows:
        raise UserError("There are no preference pairs to train on.")
    chosen = [encode_answer(lm, row.prompt, row.chosen, limit) for row in rows]
    rejected = [encode_answer(lm, row.prompt, row.rejected, limit) for row in rows]
    return collate_pairs(
        [e.prompt for e in chosen],
        [e.answer for e in chosen],
        [e.answer for e in rejected],
        [e.truncated for e in chosen],
        [e.truncated for e in rejected],
    )


def sequence_logprobs(lm: LanguageModel, batch: TokenBatch) -> torch.Tensor:
    """log pi(y|x), summed over the completion's tokens: [B]."""
    return ops.sequence_sum(forward.token_logprobs(lm.model, batch).logprobs, batch.mask)
