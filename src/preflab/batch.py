"""The tensors that sampler, models, losses and learner exchange.

In all tensors, the index t counts the tokens of the response. A batch has B sequences of P prompt tokens (left-padded)
and T response tokens (right-padded). Sequence b has n_b response tokens without padding. Masks are computed from
lengths, never from `ids != pad`, and no code reads the value at a padded place.

| tensor          | meaning                                                                                        |
|-----------------|------------------------------------------------------------------------------------------------|
| `mask[b,t]`     | True if token t is a token of the response, the end-of-turn token included                     |
| `logprobs[b,t]` | log pi(token t given all tokens before it)                                                     |
| `values[b,t]`   | value of the state *before* token t, t in 0..T; `values[b,n_b]` is used only if `truncated[b]` |
| `rewards[b,t]`  | per-token reward *after* token t                                                               |
| `scores[b]`     | one number per response                                                                        |
| `truncated[b]`  | True if the response reached the length limit, and so has no end-of-turn token                 |

`TokenBatch` is a batch of prompts with one completion each. `PairBatch` has the chosen and the rejected answers as two
named batches, never as interleaved rows. `RankedBatch` has K scored answers to each prompt. `Experience` is the batch
that a rollout makes. The method `select` of a batch returns a batch of some of its rows, trimmed to the longest of
these rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from preflab.errors import UserError
from preflab.types import Completion, Demonstration, Preference, Prompt, Ranking


class Encoded(NamedTuple):
    """The token ids of a prompt and of an answer to that prompt. `truncated`: True if the answer has no end-of-turn
    token."""

    prompt: list[int]
    answer: list[int]
    truncated: bool


Encode = Callable[[Prompt, Completion, int], Encoded]
"""A function (prompt, answer, maximum number of answer tokens) -> the token ids of prompt and answer."""


@dataclass(frozen=True)
class Tensors:
    """A record whose fields are tensors, other `Tensors` records, or None."""

    def to(self, device: str | torch.device) -> Self:
        """Returns a copy of the record on another device. A batch stays on the CPU. Only its micro-batches are copied,
        each to the device of the model that reads it.
        """
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: None if part is None else part.to(device) for name, part in parts.items()})


@dataclass(frozen=True)
class Batch(Tensors, ABC):
    """A batch from which rows can be selected."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    @abstractmethod
    def lengths(self) -> Tensor:
        """Int[B]: the number of tokens of each row, prompts included. `micro_batches` uses the lengths to cut a batch."""

    @property
    def tokens(self) -> int:
        """The number of tokens in the whole batch, with prompts and without padding. A forward pass over the batch is
        charged for this number of tokens.
        """
        return int(self.lengths.sum())

    @abstractmethod
    def select(self, rows: Sequence[int] | Tensor) -> Self:
        """Returns a batch of these rows, trimmed to their longest prompt and their longest completion."""


@dataclass(frozen=True)
class TokenBatch(Batch):
    """Prompts with one completion each, as token ids. Prompts end at the last column of `prompt_ids[B,P]`. Completions
    start at column 0 of `completion_ids[B,T]`.
    """

    prompt_ids: Tensor
    prompt_lengths: Tensor
    completion_ids: Tensor
    completion_lengths: Tensor
    truncated: Tensor

    @property
    def mask(self) -> Tensor:
        """Bool[B,T]: True at the tokens of each completion, computed from the lengths."""
        steps = torch.arange(self.completion_ids.shape[1], device=self.completion_ids.device)
        return steps[None, :] < self.completion_lengths[:, None]

    @property
    def lengths(self) -> Tensor:
        return self.prompt_lengths + self.completion_lengths

    def select(self, rows: Sequence[int] | Tensor) -> TokenBatch:
        index = torch.as_tensor(rows, device=self.prompt_ids.device)
        prompt_lengths, completion_lengths = self.prompt_lengths[index], self.completion_lengths[index]
        prompt_ids = self.prompt_ids[index, self.prompt_ids.shape[1] - int(prompt_lengths.max()) :]
        completion_ids = self.completion_ids[index, : int(completion_lengths.max())]
        return TokenBatch(prompt_ids, prompt_lengths, completion_ids, completion_lengths, self.truncated[index])

    @staticmethod
    def join(batches: Sequence[TokenBatch]) -> TokenBatch:
        """Joins several batches into one, in their order."""
        return TokenBatch(
            prompt_ids=stack([batch.prompt_ids.flip(1) for batch in batches]).flip(1),  # padded on the left
            prompt_lengths=torch.cat([batch.prompt_lengths for batch in batches]),
            completion_ids=stack([batch.completion_ids for batch in batches]),
            completion_lengths=torch.cat([batch.completion_lengths for batch in batches]),
            truncated=torch.cat([batch.truncated for batch in batches]),
        )


@dataclass(frozen=True)
class AnswerBatch(Batch):
    """A batch of answers. Its subclasses add data about each answer."""

    batch: TokenBatch

    @property
    def lengths(self) -> Tensor:
        return self.batch.lengths


@dataclass(frozen=True)
class KeptTokens(Tensors):
    """The token ids that top-k / top-p sampling kept at each step. At step t of row b, the first `counts[b,t]` of the K
    ids in `ids[b,t]` are valid."""

    ids: Tensor
    counts: Tensor

    def select(self, index: Tensor, longest: int) -> KeptTokens:
        return KeptTokens(self.ids[index, :longest], self.counts[index, :longest])


@dataclass(frozen=True)
class SampledBatch(AnswerBatch):
    """Completions and, for each token, the ids from which the sampler drew it (`kept`). `kept` is None if the sampler
    drew from the whole vocabulary.
    """

    kept: KeptTokens | None = None

    def select(self, rows: Sequence[int] | Tensor) -> SampledBatch:
        index = torch.as_tensor(rows)
        batch = self.batch.select(index)
        kept = None if self.kept is None else self.kept.select(index, batch.completion_ids.shape[1])
        return SampledBatch(batch, kept)


@dataclass(frozen=True)
class PairBatch(Batch):
    """Preference pairs: row b of `chosen` and row b of `rejected` answer the same prompt.

    `reference_chosen[B]`, `reference_rejected[B]`: the summed log-probabilities under the reference model, if the
    method needs them.
    `margins[B]`: the margin by which each chosen answer is better. A pair without a margin has 0. `margins` is None if
    no pair has a margin.
    `probabilities[B]`: the probability that each chosen answer is better. A pair without a probability has 1.
    `probabilities` is None if no pair has a probability.
    `safe[B,2]`: Bool, whether the chosen answer and the rejected answer of each pair are safe. It is None if this is
    unknown for any pair.
    """

    chosen: TokenBatch
    rejected: TokenBatch
    reference_chosen: Tensor | None = None
    reference_rejected: Tensor | None = None
    margins: Tensor | None = None
    probabilities: Tensor | None = None
    safe: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """Int[B]: the number of tokens of both answers, each with its prompt."""
        return self.chosen.lengths + self.rejected.lengths

    @property
    def answers(self) -> TokenBatch:
        """All answers in one batch of 2B rows: first the B chosen answers, then the B rejected ones. A forward pass over
        this batch can read the prompt of a pair once for both answers."""
        return TokenBatch.join([self.chosen, self.rejected])

    def select(self, rows: Sequence[int] | Tensor) -> PairBatch:
        index = torch.as_tensor(rows)
        columns = (self.reference_chosen, self.reference_rejected, self.margins, self.probabilities, self.safe)
        kept = (None if column is None else column[index] for column in columns)
        return PairBatch(self.chosen.select(index), self.rejected.select(index), *kept)


@dataclass(frozen=True)
class RankedBatch(Batch):
    """B prompts with `counts[b]` = K_b answers each.

    `candidates` contains the R = sum K_b answers. The answers to one prompt are consecutive. `scores[R]` are their
    scores. A row of this batch is a prompt, so `select` keeps all answers to a prompt together.
    """

    candidates: TokenBatch
    scores: Tensor
    counts: Tensor

    @property
    def lengths(self) -> Tensor:
        """Int[B]: the number of tokens of all answers to a prompt. The prompt is counted once for each answer."""
        return self.table(self.candidates.lengths).sum(dim=1)

    @property
    def mask(self) -> Tensor:
        """Bool[B,K]: True at the first K_b places of row b, where `table` puts the numbers of this prompt's answers. K
        is the largest K_b."""
        places = torch.arange(int(self.counts.max()), device=self.counts.device)
        return places[None, :] < self.counts[:, None]

    def table(self, values: Tensor) -> Tensor:
        """Arranges one number for each answer, [R], as a table [B,K], with 0 where the mask is False."""
        mask = self.mask
        return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)

    def select(self, rows: Sequence[int] | Tensor) -> RankedBatch:
        index = torch.as_tensor(rows)
        places = self.table(torch.arange(len(self.candidates)))[index]
        answers = places[self.mask[index]]
        return RankedBatch(self.candidates.select(answers), self.scores[answers], self.counts[index])


@dataclass(frozen=True)
class Experience(AnswerBatch):
    """The batch that a rollout makes.

    `logprobs`, `reference_logprobs`, `advantages` and `returns` are [B,T], and `values` is [B,T+1]. For a method without a
    critic, `values` and `returns` are None. `weights`: the importance weight [B,T] of each token's policy loss; None if
    all are 1.
    """

    logprobs: Tensor
    reference_logprobs: Tensor
    advantages: Tensor
    values: Tensor | None = None
    returns: Tensor | None = None
    kept: KeptTokens | None = None
    weights: Tensor | None = None

    def select(self, rows: Sequence[int] | Tensor) -> Experience:
        index = torch.as_tensor(rows)
        batch = self.batch.select(index)
        longest = batch.completion_ids.shape[1]
        logprobs, reference = self.logprobs[index, :longest], self.reference_logprobs[index, :longest]
        advantages = self.advantages[index, :longest]
        values = None if self.values is None else self.values[index, : longest + 1]
        returns = None if self.returns is None else self.returns[index, :longest]
        kept = None if self.kept is None else self.kept.select(index, longest)
        weights = None if self.weights is None else self.weights[index, :longest]
        return Experience(batch, logprobs, reference, advantages, values, returns, kept, weights)


def collate(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], truncated: Sequence[bool] | None = None
) -> TokenBatch:
    """Pads prompts on the left and completions on the right.

    Raises `ValueError` if there is no row, or if a prompt or a completion is empty. `truncated`: True for each completion
    that has no end-of-turn token. If `truncated` is None, every completion has an end-of-turn token.
    """
    if not prompts or any(not all(row) for row in zip(prompts, completions, strict=True)):
        raise ValueError(
            "A batch needs at least one row. Each row needs a prompt and a completion of at least one token each."
        )
    prompt_lengths = torch.tensor([len(row) for row in prompts])
    completion_lengths = torch.tensor([len(row) for row in completions])
    prompt_ids = pad_sequence([torch.tensor(row) for row in prompts], batch_first=True, padding_side="left")
    completion_ids = pad_sequence([torch.tensor(row) for row in completions], batch_first=True)
    flags = torch.tensor(truncated if truncated is not None else [False] * len(prompts))
    return TokenBatch(prompt_ids, prompt_lengths, completion_ids, completion_lengths, flags)


def collate_demonstrations(rows: Sequence[Demonstration], encode: Encode, *, limit: int) -> TokenBatch:
    """Makes a batch of demonstrations. `encode` and `limit` are explained at `collate_pairs`.

    Raises `UserError` if there are no demonstrations.
    """
    if not rows:
        raise UserError("The testbed has no demonstrations, which SFT needs. Use a testbed that has demonstrations.")
    return collate(*_columns([encode(row.prompt, row.completion, limit) for row in rows]))


def collate_pairs(rows: Sequence[Preference], encode: Encode, *, limit: int) -> PairBatch:
    """Makes a batch of pairs. Raises `UserError` if there are no pairs.

    `encode`: a function that returns the ids of a prompt and of an answer. It cuts the answer after `limit` tokens. It
    encodes the prompt separately, so that both answers of a pair follow the same prompt ids.
    """
    if not rows:
        raise UserError("There are no preference pairs to train on.")
    chosen = collate(*_columns([encode(row.prompt, row.chosen, limit) for row in rows]))
    rejected = collate(*_columns([encode(row.prompt, row.rejected, limit) for row in rows]))
    margins = _label_column([row.margin for row in rows], otherwise=0.0)
    probabilities = _label_column([row.probability for row in rows], otherwise=1.0)
    return PairBatch(chosen, rejected, margins=margins, probabilities=probabilities, safe=_safety_columns(rows))


def collate_rankings(rows: Sequence[Ranking], encode: Encode, *, limit: int) -> RankedBatch:
    """Makes a batch of rankings. `encode` and `limit` are explained at `collate_pairs`.

    Raises `UserError` if there are no rankings.
    """
    if not rows:
        raise UserError("There are no rankings to train on.")
    answers = [encode(row.prompt, answer, limit) for row in rows for answer in row.completions]
    scores = torch.tensor([score for row in rows for score in row.scores], dtype=torch.float32)
    return RankedBatch(collate(*_columns(answers)), scores, torch.tensor([len(row.completions) for row in rows]))


def _label_column(values: Sequence[float | None], *, otherwise: float) -> Tensor | None:
    """Returns the values as a tensor [B] in which `otherwise` replaces each missing value. Returns None if all values
    are missing."""
    if all(value is None for value in values):
        return None
    return torch.tensor([otherwise if value is None else value for value in values])


def _safety_columns(rows: Sequence[Preference]) -> Tensor | None:
    """Returns Bool[B,2]: whether the chosen answer and the rejected answer of each pair are safe. Returns None if this
    is unknown for any pair."""
    labels = [(row.chosen_safe, row.rejected_safe) for row in rows]
    return None if any(None in row for row in labels) else torch.tensor(labels)


def _columns(rows: Sequence[Encoded]) -> tuple[list[list[int]], list[list[int]], list[bool]]:
    return [row.prompt for row in rows], [row.answer for row in rows], [row.truncated for row in rows]


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors along their first axis. Along every other axis, pads the end of each tensor with 0, up to the size
    of the tensor that is longest along this axis."""
    shape = [max(tensor.shape[axis] for tensor in tensors) for axis in range(1, tensors[0].dim())]
    out = tensors[0].new_zeros(sum(len(tensor) for tensor in tensors), *shape)
    start = 0
    for tensor in tensors:
        out[(slice(start, start + len(tensor)), *(slice(size) for size in tensor.shape[1:]))] = tensor
        start += len(tensor)
    return out


def micro_batches(lengths: Tensor | Sequence[int], budget: int) -> list[list[int]]:
    """Groups the rows into micro-batches, longest rows first, and returns the row indices of each micro-batch.

    In a micro-batch, the number of rows times the length of the longest row is at most `budget` tokens. A row longer
    than `budget` forms a micro-batch alone.
    """
    sizes = [int(n) for n in lengths]
    batches: list[list[int]] = []
    for row in sorted(range(len(sizes)), key=lambda row: -sizes[row]):
        if batches and (len(batches[-1]) + 1) * sizes[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
