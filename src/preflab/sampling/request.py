"""Checks a sampling request, divides the request into batches, and collects the results."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from preflab.batch import KeptTokens, collate
from preflab.errors import UserError
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Samples
from preflab.sampling.draw import Drawn
from preflab.work import report_work


def check_request(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], seeds: Sequence[int], decoding: Decoding
) -> None:
    """Raises `UserError` if a prompt is empty, or if a prompt and its longest possible completion together exceed the
    context. Raises `ValueError` if the numbers of prompts and seeds differ."""
    if len(seeds) != len(prompts):
        raise ValueError(f"There are {len(prompts)} prompts and {len(seeds)} seeds. Give one seed for each prompt.")
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise UserError(f"Prompt {row} is empty. Give each prompt at least one token, such as BOS.")
        if len(prompt) + decoding.max_new_tokens > lm.context:
            raise UserError(
                f"Prompt {row} has {len(prompt)} tokens, and its completion can have {decoding.max_new_tokens}, but the "
                f"model's context is {lm.context} tokens. Shorten the prompt, or lower `max_new_tokens`."
            )


def batches(prompts: Sequence[Sequence[int]], new_tokens: int, rows: int, tokens: int) -> list[list[int]]:
    """Divides a request into batches of similar size and returns the row indices of each batch. The rows are sorted by
    the length of their prompts, longest first, with equal prompts next to each other.

    A batch has at most `rows` rows. The number of its rows times (length of its longest prompt + `new_tokens`) is at
    most `tokens`. If a single row exceeds `tokens`, it forms a batch of one row.
    """
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), tuple(prompts[row]), row))
    cut: list[list[int]] = []
    start = 0
    while start < len(order):
        most = max(1, min(rows, tokens // (len(prompts[order[start]]) + new_tokens)))
        left = len(order) - start
        size = math.ceil(
            left / math.ceil(left / most)
        )  # for example, 300 rows with most = 256 become two batches of 150
        cut.append(order[start : start + size])
        start += size
    return cut


class DrawnRows:
    """The drawn tokens of a request and their log-probabilities, by row index.

    `drawn`: the number of finished rows. `steps`: one tuple for each decoding step with top-k or top-p. The tuple
    contains the row indices, the column, and the kept ids.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        self.prompts = prompts
        self.device = lm.model.device
        self.ends = torch.tensor(lm.end_ids, device=self.device)
        self.tokens = torch.zeros(len(prompts), new_tokens, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(len(prompts), new_tokens, device=self.device)
        self.lengths = torch.zeros(len(prompts), dtype=torch.long, device=self.device)
        self.truncated = torch.ones(len(prompts), dtype=torch.bool, device=self.device)
        self.steps: list[tuple[Tensor, int, KeptTokens]] = []
        self.drawn = 0

    def add(self, rows: Tensor, column: int, drawn: Drawn) -> Tensor:
        """Records the new tokens of the rows `rows[N]`. Returns Bool[N]: True for each row whose new token does not end
        the completion.

        Raises `UserError` if the logits of a row are not finite.
        """
        finite = drawn.logprobs.isfinite()
        if not bool(finite.all()):
            row = int(rows[~finite][0])
            raise UserError(
                f"The logits of row {row} (a prompt of {len(self.prompts[row])} tokens) are not finite at new token "
                f"{column}. The weights have probably diverged (lower the learning rate, or go back to an earlier "
                "checkpoint), or half precision overflows (sample in fp32 or bf16)."
            )
        self.tokens[rows, column] = drawn.tokens
        self.logprobs[rows, column] = drawn.logprobs.float()
        self.lengths[rows] = column + 1
        if drawn.kept is not None:
            self.steps.append((rows, column, drawn.kept))
        ended = torch.isin(drawn.tokens, self.ends)
        self.truncated[rows] = ~ended
        spent = (column + 1) / self.tokens.shape[1]
        finished = len(rows) if spent == 1 else int(ended.sum())
        self.drawn += finished
        report_work("answers drawn", (self.drawn + spent * (len(rows) - finished)) / len(self.prompts))
        return ~ended

    def samples(self) -> Samples:
        """Returns all rows in the order of the request, trimmed to the length of the longest completion. The tensors
        are on the CPU."""
        lengths = self.lengths.tolist()
        completions = [ids[:length] for ids, length in zip(self.tokens.tolist(), lengths, strict=True)]
        batch = collate(self.prompts, completions, self.truncated.tolist())
        return Samples(batch, self.logprobs[:, : max(lengths)].clone().cpu(), self._kept(max(lengths)))

    def _kept(self, longest: int) -> KeptTokens | None:
        if not self.steps:
            return None
        widest = max(kept.ids.shape[1] for _, _, kept in self.steps)
        ids = torch.zeros(len(self.prompts), longest, widest, dtype=torch.int32, device=self.device)
        counts = torch.zeros(len(self.prompts), longest, dtype=torch.int32, device=self.device)
        for rows, column, kept in self.steps:
            ids[rows, column, : kept.ids.shape[1]] = kept.ids
            counts[rows, column] = kept.counts
        return KeptTokens(ids, counts).to("cpu")
