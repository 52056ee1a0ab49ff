"""Draws tokens from logits: applies top-k and top-p, then inverts the cumulative distribution function of each row.

Each row has a stream of uniform random numbers, which depends only on the row's seed. Token t of the row uses number t
of the stream. The sample of a row therefore depends only on its seed and its logits, not on the other rows of the
batch.

The probabilities are summed in the order of the vocabulary, not in the order of their size. The cumulative distribution
therefore changes only slightly if rounding errors swap the ranks of two nearly equal logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from preflab.batch import KeptTokens
from preflab.models.forward import restrict
from preflab.sampling.base import Decoding


class Drawn(NamedTuple):
    """`tokens[N]`: the drawn tokens. `logprobs[N]`: the log-probabilities of the drawn tokens; NaN if the logits of a
    row are not finite. `kept`: the token ids that top-k and top-p kept in each row; None if all ids were kept."""

    tokens: Tensor
    logprobs: Tensor
    kept: KeptTokens | None


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Returns uniform random numbers in [0, 1), fp64 [B, count]. Row b contains the first `count` numbers of the Philox
    stream with the seed `seeds[b]`."""
    rows = [np.random.Generator(np.random.Philox(int(seed))).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def choose_tokens(logits: Tensor, uniform: Tensor, decoding: Decoding) -> Drawn:
    """Chooses one token for each row of `logits[N,V]`. The caller has divided the logits by the temperature (by 1 for
    greedy decoding).

    uniform: [N] in [0, 1), the next random number of each row's stream.
    """
    if decoding.temperature == 0:
        return greedy(logits)
    return draw_tokens(logits, uniform, kept_ids(logits, top_k=decoding.top_k, top_p=decoding.top_p))


def greedy(logits: Tensor) -> Drawn:
    """Chooses the most probable token of each row. If several tokens are equally probable, chooses the first of them.
    `kept` is None, because top-k and top-p cannot change the choice."""
    peak, tokens = logits.max(dim=1)
    return Drawn(tokens, peak - logits.logsumexp(dim=1), None)


def kept_ids(logits: Tensor, *, top_k: int, top_p: float) -> KeptTokens | None:
    """Applies top-k and then top-p to `logits[N,V]`. Returns the kept ids, [N,K], or None if all ids are kept.

    Top-k keeps exactly k ids, even if there are ties at rank k. The probabilities of these ids are then normalised.
    Top-p keeps an id if the total probability of all more probable ids is below `top_p`. It always keeps the most
    probable id.

    The kept ids are int32, in the order of the vocabulary. If a row has fewer than K kept ids, its last kept id is
    repeated to the end of the row.
    """
    vocabulary = logits.shape[1]
    width = min(top_k, vocabulary) if top_k > 0 else vocabulary
    if width == vocabulary and top_p >= 1.0:
        return None
    ranked, ids = torch.topk(logits, width, dim=1)  # most probable first
    if top_p >= 1.0:
        return KeptTokens(ids.sort(dim=1).values.int(), torch.full((len(ids),), width, device=ids.device).int())
    mass = ranked.softmax(dim=1).cumsum(dim=1, dtype=torch.float64)
    stays = torch.ones_like(mass, dtype=torch.bool)
    stays[:, 1:] = mass[:, :-1] < top_p
    counts = stays.sum(dim=1)
    ordered = ids.masked_fill(~stays, vocabulary)[:, : int(counts.max())].sort(dim=1).values
    last = ordered.gather(1, counts[:, None] - 1)
    return KeptTokens(torch.minimum(ordered, last).int(), counts.int())


def draw_tokens(logits: Tensor, uniform: Tensor, kept: KeptTokens | None) -> Drawn:
    """Draws one id for each row: the first id, in the order of the vocabulary, whose cumulative probability exceeds
    `uniform[N]`.

    An id with probability 0 is never drawn, because the cumulative probability does not increase at this id. The value
    that the cumulative probability must exceed is always below the total probability, so there is always an id to draw.
    The sums are computed in fp64.
    """
    support = logits if kept is None else restrict(logits, kept.ids, kept.counts)
    peak = support.amax(dim=1, keepdim=True)
    mass = (support - peak).exp_().cumsum(dim=1, dtype=torch.float64)
    total = mass[:, -1:].contiguous()
    point = torch.minimum(uniform[:, None] * total, total.nextafter(torch.zeros_like(total)))
    places = torch.searchsorted(mass, point, right=True).clamp_(max=support.shape[1] - 1)
    logprobs = support.gather(1, places) - peak - total.log().to(support.dtype)
    tokens = places if kept is None else kept.ids.gather(1, places).long()
    return Drawn(tokens[:, 0], logprobs[:, 0], kept)
