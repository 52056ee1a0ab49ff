"""From logits to tokens: the ids that top-k and top-p keep, and one token for each row, drawn by inverting its distribution
function.

Each row owns a stream of uniform numbers, made from the row's seed alone, and token t of the row uses number t of the
stream. A row's sample therefore depends on its seed and its logits, not on the other rows of its batch. The distribution
function runs over the ids in the vocabulary's order, so rounding that swaps two nearly equal logits does not change any
other token.
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
    """`tokens[N]`, their `logprobs[N]` (NaN if a row's logits are not finite), and the ids [N,K] that were `kept`."""

    tokens: Tensor
    logprobs: Tensor
    kept: KeptTokens | None


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Returns [B, count] fp64 in [0, 1): row b is the beginning of the stream of seed b (Philox), whatever the `count`."""
    rows = [np.random.Generator(np.random.Philox(int(seed))).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def choose_tokens(logits: Tensor, uniform: Tensor, decoding: Decoding) -> Drawn:
    """Chooses one token for each row of `logits[N,V]`, which are divided by the temperature (at temperature 0: by 1).

    uniform: [N] in [0, 1), the next number of each row's stream.
    """
    if decoding.temperature == 0:
        return greedy(logits)
    return draw_tokens(logits, uniform, kept_ids(logits, top_k=decoding.top_k, top_p=decoding.top_p))


def greedy(logits: Tensor) -> Drawn:
    """Chooses the most probable token of each row (the first of equals). `kept` is None: top-k and top-p cannot change the
    choice."""
    peak, tokens = logits.max(dim=1)
    return Drawn(tokens, peak - logits.logsumexp(dim=1), None)


def kept_ids(logits: Tensor, *, top_k: int, top_p: float) -> KeptTokens | None:
    """Returns the ids [N,K] that remain of `logits[N,V]` after top-k and then top-p; None if they keep the whole vocabulary.

    Top-k keeps exactly k ids, even if there are ties at rank k. Top-p keeps the fewest ids, most probable first, whose share
    of the mass of top-k's ids reaches `top_p`: an id stays iff the mass before it is below `top_p`; the first id always
    stays. The ids are int32, in the vocabulary's order. In a row with fewer than K kept ids, the last kept id is repeated up
    to the end.
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
    """Draws the first id of each row, in the vocabulary's order, at which the cumulated probability exceeds `uniform[N]`.

    An id of probability zero is never drawn: the point lies strictly below the total, and an id is drawn only if the
    distribution function rises there. The sums are in fp64.
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
