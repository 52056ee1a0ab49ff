"""From records to ids, cut to a length."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from preflab import ops
from preflab.batch import PairBatch, TokenBatch, collate, collate_pairs
from preflab.errors import UserError
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.types import Completion, Demonstration, Preference, Prompt


def encode_answer(lm: LanguageModel, prompt: Prompt, answer: Completion, limit: int) -> tuple[list[int], list[int]]:
    """Ids of prompt and answer, the answer cut at `limit` tokens (its end-of-turn token goes with the cut)."""
    prompt_ids = lm.encode_prompt(prompt)
    answer_ids = lm.encode_completion(answer)[:limit]
    lm.check_fits(prompt, prompt_ids, len(answer_ids))
    return prompt_ids, answer_ids


def encode_demonstrations(lm: LanguageModel, rows: Sequence[Demonstration], limit: int) -> TokenBatch:
    """All demonstrations as one batch (to select rows from). Raises `UserError` when there is none."""
    if not rows:
        raise UserError("The testbed has no demonstrations: SFT needs some.")
    pairs = [encode_answer(lm, row.prompt, row.completion, limit) for row in rows]
    return collate([prompt for prompt, _ in pairs], [answer for _, answer in pairs])


def encode_pairs(lm: LanguageModel, rows: Sequence[Preference], limit: int) -> PairBatch:
    """All pairs as one batch (to select rows from). Raises `UserError` when there is none."""
    if not rows:
        raise UserError("There are no preference pairs to train on.")
    chosen = [encode_answer(lm, row.prompt, row.chosen, limit) for row in rows]
    rejected = [encode_answer(lm, row.prompt, row.rejected, limit) for row in rows]
    return collate_pairs(
        [prompt for prompt, _ in chosen], [answer for _, answer in chosen], [answer for _, answer in rejected]
    )


def sequence_logprobs(lm: LanguageModel, batch: TokenBatch) -> torch.Tensor:
    """log pi(y|x), summed over the completion's tokens: [B]."""
    return ops.sequence_sum(forward.token_logprobs(lm.model, batch).logprobs, batch.mask)

