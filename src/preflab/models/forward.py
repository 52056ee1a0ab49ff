"""Computes log-probabilities, values and scores for a batch. Only this module runs a model on a batch or slices logits.

The module `layout` arranges the rows of a batch for a forward pass. The padding of a batch does not change the results.
If several completions have the same prompt, and the model supports packed rows, the prompt's tokens are computed once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from preflab import ops
from preflab.batch import KeptTokens, PairBatch, TokenBatch, micro_batches
from preflab.errors import UserError
from preflab.models.layout import plain_layout
from preflab.models.packing import arrange, run_layout
from preflab.models.score_head import MeanHead, mean_of_rows
from preflab.work import report_work

LOGITS_BUDGET = 4096 * 512  # the largest number of logits in memory at a time, 8 MiB in fp32
LOGPROB_ROUNDING = 4 * torch.finfo(torch.float32).eps
"""The largest relative difference that rounding causes between two computations of the same sequence's
log-probability."""

SCORE_ROUNDING = 1e-6
"""The largest difference that rounding causes between two computations of the same score by a reward model, for scores
of about 1."""


class TokenScores(NamedTuple):
    """The results of `token_logprobs`. `logprobs[B,T]`: the log-probability of each completion token. `entropy[B,T]`:
    the entropy (nats) of the distribution from which each token is drawn, or None."""

    logprobs: Tensor
    entropy: Tensor | None


def unwrap(model: Any) -> Any:
    """Returns the transformers model inside a peft wrapper. Its adapters stay active. Returns any other model
    unchanged."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def backbone(model: Any) -> Any:
    """Returns the network below the head of a model, including adapters. This is usually the model's `base_model`. In
    families such as Llama 4, `base_model` is the causal model itself. The result is then the transformers model inside
    this causal model."""
    base = unwrap(model)
    if base.base_model is not base or base.get_output_embeddings() is None:
        return base.base_model
    return next((part for part in base.children() if isinstance(part, PreTrainedModel)), base)


def precision(model: Any) -> torch.autocast:
    """Returns an autocast context. If `use_bf16` was called on the model, operations in the context run in bf16, while
    the weights stay in fp32. If `use_bf16` was not called, the context has no effect.

    Close the context before the weights are updated. Until it is closed, autocast keeps a copy of the weights in bf16,
    and an update of the weights does not change this copy.
    """
    return torch.autocast(unwrap(model).device.type, torch.bfloat16, enabled=in_bf16(model))


def in_bf16(model: Any) -> bool:
    """Returns whether `use_bf16` was called on the model."""
    return getattr(backbone(model), "mixed_precision", False)


def use_bf16(model: Any) -> None:
    """Makes the functions of this module run the model in bf16. This setting is also in effect for later copies of the
    model. The weights stay in fp32. Logs a warning if this processor has no fast arithmetic in bf16."""
    backbone(model).mixed_precision = True
    if unwrap(model).device.type == "cpu":
        warn_of_slow_bf16()


@lru_cache(maxsize=1)
def warn_of_slow_bf16() -> None:
    """Logs a warning if this processor has no fast arithmetic in bf16. Each process logs this warning at most once. On
    such a processor, PyTorch is several times slower in bf16 than in fp32, and less exact."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logging.getLogger("preflab").warning(
            "This processor has no fast arithmetic in bf16, so bf16 is slower than fp32. Set the precision to fp32."
        )


@torch.no_grad()
def by_micro_batch(model: Any, function: Callable[[Any], Tensor], batch: Any, budget: int) -> Tensor:
    """Calls `function` on micro-batches of at most `budget` tokens each, on the model's device and without gradients.

    Returns the results of all micro-batches in one tensor [B, ...] on the CPU. The rows are in the order of the batch,
    and are padded with 0.
    """
    device = next(unwrap(model).parameters()).device
    pieces: list[tuple[list[int], Tensor]] = []
    done = 0
    for rows in micro_batches(batch.lengths, budget):
        pieces.append((rows, function(batch.select(rows).to(device)).cpu()))
        done += len(rows)
        report_work("answers read by a model", done / len(batch))
    width = [max(piece.shape[axis] for _, piece in pieces) for axis in range(1, pieces[0][1].dim())]
    out = torch.zeros(len(batch), *width, dtype=pieces[0][1].dtype)
    for rows, piece in pieces:
        out[(torch.tensor(rows), *(slice(size) for size in piece.shape[1:]))] = piece
    return out


def states(model: Any, batch: TokenBatch) -> Tensor:
    """Returns the last-layer hidden states before each response token and after the last response token: [B, T+1,
    D]."""
    network = backbone(model)
    layout = arrange(network, batch)
    with precision(model):
        hidden = run_layout(network, layout)
    return layout.gather(hidden)


def token_logprobs(
    model: Any, batch: TokenBatch, *, temperature: float = 1.0, kept: KeptTokens | None = None, entropy: bool = False
) -> TokenScores:
    """Computes log pi of each completion token at `temperature`. If `entropy` is True, also computes the entropy of
    each token's distribution. Tokens whose mask is False get 0.

    With `kept`, the distribution is normalised over the token ids that the sampler's top-k and top-p kept. Without
    `kept`, it is normalised over the whole vocabulary. The vocabulary head runs only on tokens whose mask is True, in
    chunks of at most `LOGITS_BUDGET` logits. If there are several chunks, the backward pass recomputes the logits of
    each chunk. The entropy has no gradient.
    """
    mask = batch.mask
    hidden = states(model, batch)[:, :-1][mask]
    targets = batch.completion_ids[mask]
    head = Head(unwrap(model), temperature)
    rows = max(1, LOGITS_BUDGET // head.vocabulary)
    kept_rows = None if kept is None else (kept.ids[mask], kept.counts[mask])
    parts = [slice(start, start + rows) for start in range(0, len(targets), rows)]
    pieces = [_chunk(head, hidden, targets, kept_rows, part, entropy) for part in parts]
    flat = torch.cat([piece[0] for piece in pieces])
    logprobs = torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)
    if not entropy:
        return TokenScores(logprobs, None)
    flat_entropy = torch.cat([piece[1] for piece in pieces])
    return TokenScores(logprobs, torch.zeros_like(logprobs).masked_scatter(mask, flat_entropy))


def sequence_logprobs(model: Any, batch: TokenBatch) -> Tensor:
    """Returns log pi(y|x) of each row, the sum over the completion's tokens: [B]."""
    return ops.sequence_sum(token_logprobs(model, batch).logprobs, batch.mask)


def pair_logprobs(model: Any, pairs: PairBatch) -> Tensor:
    """Returns log pi(y|x) of the chosen and of the rejected answer of each pair: [B,2]."""
    return sequence_logprobs(model, pairs.answers).view(2, -1).T


def full_logprobs(model: Any, batch: TokenBatch) -> Tensor:
    """Returns log pi of every vocabulary entry at each of the batch's N completion tokens, [N,V] fp32. These values are
    used to compute the exact KL divergence of small models."""
    hidden = states(model, batch)[:, :-1][batch.mask]
    return torch.log_softmax(Head(unwrap(model), 1.0)(hidden), dim=-1)


def values(critic: Any, batch: TokenBatch) -> Tensor:
    """Returns the critic's value of the state before each response token and of the state after the last response
    token: [B, T+1] fp32."""
    return critic.head(states(critic.backbone, batch).float()).squeeze(-1)


def scores(reward_model: Any, batch: TokenBatch) -> Tensor:
    """Returns a reward model's score of each row: [B] fp32. The score is computed from the state of the row's last
    token, or from the mean of the states of all its tokens (see `MeanHead`). Padding tokens do not count."""
    head = unwrap(reward_model).score
    if isinstance(head, MeanHead):
        with precision(reward_model):
            read = mean_of_rows(run_layout(backbone(reward_model), plain_layout(batch)), batch.lengths)
    else:
        hidden = states(reward_model, batch)
        read = hidden.gather(1, batch.completion_lengths[:, None, None].expand(-1, 1, hidden.shape[-1]))
    return head(read.to(head.weight.dtype)).float().flatten()


def pair_scores(reward_model: Any, pairs: PairBatch) -> Tensor:
    """Returns a reward model's scores of the chosen and of the rejected answer of each pair: [B,2] fp32."""
    return scores(reward_model, pairs.answers).view(2, -1).T


def order_of_scores(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Returns 1 for each pair whose chosen answer scores higher, 0 for each pair whose rejected answer scores higher,
    and 1/2 if the scores are equal up to rounding. Two identical answers to a prompt can have scores that differ by
    rounding, because they are at different positions of a packed row."""
    rounding = SCORE_ROUNDING * (1.0 + chosen.abs() + rejected.abs())
    return ops.order_accuracy(chosen - rejected, rounding=rounding)


class Head:
    """The vocabulary head of a model. Some model families scale the logits (Cohere, Granite) or apply a soft cap to
    them (Gemma). `Head` does the same.

    The first `Head` that is made for a model compares its logits with the logits of the model's own forward pass.
    Raises `UserError` if the logits differ. The model then computes its logits in a way that `Head` does not implement.
    """

    def __init__(self, model: Any, temperature: float) -> None:
        self.model = model
        self.linear = model.get_output_embeddings()
        config = model.config.get_text_config()
        self.cap: float | None = getattr(config, "final_logit_softcapping", getattr(config, "logits_soft_cap", None))
        scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
        self.scale = float(scale)
        self.temperature = temperature
        self.vocabulary = int(self.linear.weight.shape[0])
        if not (model.training or getattr(model, "head_is_known", False)):
            self._compare()
            model.head_is_known = True

    def __call__(self, hidden: Tensor) -> Tensor:
        with precision(self.model):
            logits = self.linear(hidden)
        logits = logits.float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.cap is not None:
            logits = self.cap * torch.tanh(logits / self.cap)
        return logits / self.temperature if self.temperature != 1.0 else logits

    @torch.no_grad()
    def _compare(self) -> None:
        """Compares the logits of this head for three tokens with the logits of the model's own forward pass. Raises
        `UserError` if they differ."""
        ids = torch.arange(3, device=self.linear.weight.device)[None, :] % self.vocabulary
        with precision(self.model):
            theirs = self.model(input_ids=ids, use_cache=False).logits.float()
            hidden = backbone(self.model)(input_ids=ids, use_cache=False).last_hidden_state
        exact = self.linear.weight.dtype == torch.float32 and not in_bf16(self.model)
        error = (self(hidden) * self.temperature - theirs).abs().max()
        if not error <= (1e-3 if exact else 0.05) * theirs.abs().max():
            name = type(self.model).__name__
            raise UserError(f"preflab cannot train a {name}, because it computes its logits in an unknown way.")


def restrict(logits: Tensor, ids: Tensor, counts: Tensor) -> Tensor:
    """Returns the logits [N,K] of the ids [N,K] that the sampler kept. Row n has `counts[n]` kept ids. Its remaining
    entries are minus infinity."""
    places = torch.arange(ids.shape[1], device=ids.device)
    return logits.gather(1, ids.long()).masked_fill(places >= counts[:, None], float("-inf"))


def _chunk(
    head: Head, hidden: Tensor, targets: Tensor, kept: tuple[Tensor, Tensor] | None, part: slice, entropy: bool
) -> tuple[Tensor, Tensor]:
    """Returns two tensors for the rows in `part` of the states `hidden` [N,D]: log pi of the rows' `targets` [N], and
    the entropy of each row's distribution. If `entropy` is False, the second tensor has no meaning."""

    def run(hidden: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(hidden)
        chosen = logits.gather(1, targets[part, None]).squeeze(1)
        support = logits if kept is None else restrict(logits, kept[0][part], kept[1][part])
        total = support.logsumexp(dim=-1)
        if not entropy:
            return chosen - total, total
        with torch.no_grad():
            logs = support - total[:, None]
            spread = -(logs.exp() * logs.clamp(min=-1e4)).sum(-1)
        return chosen - total, spread

    if len(hidden[part]) < len(hidden) and torch.is_grad_enabled():
        return checkpoint(run, hidden[part], use_reentrant=False, preserve_rng_state=False)
    return run(hidden[part])
