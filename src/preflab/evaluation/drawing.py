"""Draws a policy's answers to prompts. The policy is a model in this process, or a model that a server runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.batch import TokenBatch
from preflab.evaluation.bench import AnyPolicy, Bench
from preflab.evaluation.served import ServedPolicy
from preflab.sampling.base import Decoding
from preflab.types import Completion, Prompt


@dataclass(frozen=True)
class DrawnAnswers:
    """Answers to prompts, one in each row. batch: the token ids of prompts and answers; None for a served policy, whose
    tokens are not known. lengths: the number of tokens of each answer. prompt_lengths: the number of tokens of each
    row's prompt. Both are None if a server does not report them."""

    completions: Sequence[Completion]
    batch: TokenBatch | None
    lengths: Sequence[int] | None
    prompt_lengths: Sequence[int] | None

    def select(self, rows: Sequence[int]) -> DrawnAnswers:
        """Returns the answers in the given rows, in this order. A row may occur several times."""
        return DrawnAnswers(
            completions=[self.completions[row] for row in rows],
            batch=None if self.batch is None else self.batch.select(rows),
            lengths=None if self.lengths is None else [self.lengths[row] for row in rows],
            prompt_lengths=None if self.prompt_lengths is None else [self.prompt_lengths[row] for row in rows],
        )

    def mean_length(self) -> float | None:
        """Returns the mean number of tokens of an answer; None if it is not known."""
        if self.batch is not None:
            return float(self.batch.completion_lengths.float().mean())
        return None if self.lengths is None else sum(self.lengths) / len(self.lengths)


def draw_rows(
    bench: Bench, policy: AnyPolicy, prompts: Sequence[Prompt], *, seeds: Sequence[int], decoding: Decoding
) -> DrawnAnswers:
    """Draws one answer to each prompt. `seeds`: one seed for each prompt. Raises `UserError` if a prompt does not fit
    into the context of the model, or if the server of a served policy does not answer."""
    if isinstance(policy, ServedPolicy):
        served = policy.answer(prompts, seeds=seeds, decoding=decoding)
        return DrawnAnswers(served.completions, None, served.tokens_out, served.tokens_in)
    assert bench.sampler is not None
    ids = {prompt.id: policy.encode_prompt(prompt) for prompt in prompts}
    rows = [ids[prompt.id] for prompt in prompts]
    batch = bench.sampler.sample(policy, rows, seeds=seeds, decoding=decoding).batch
    return DrawnAnswers(policy.completions(batch), batch, batch.completion_lengths.tolist(), [*map(len, rows)])
