"""The native sampler, which draws one token for each row of a batch in each step, and drops finished rows.

Rows with prompts of similar length form a batch. The prefill runs the model once on each distinct prompt of a batch.
Each further step draws one token for each row, drops the rows that have ended, and runs the model on the new tokens of
the other rows. The results are returned in the order of the request.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor, nn

from preflab.meter import Meter
from preflab.models.footprint import FP32, GIB
from preflab.models.forward import Head, in_bf16, unwrap, warn_of_slow_bf16
from preflab.models.lm import LanguageModel
from preflab.sampling import fallback
from preflab.sampling.base import Decoding, Sampler, Samples
from preflab.sampling.decode import DecodeBatch
from preflab.sampling.draw import choose_tokens, uniforms
from preflab.sampling.request import DrawnRows, batches, check_request
from preflab.sampling.spec import SamplerSpec, SamplingLoad
from preflab.sampling.support import Support, candidates, examine
from preflab.spec import Context

log = logging.getLogger("preflab")


class Native(SamplerSpec):
    """The settings of preflab's native sampler.

    `rows`: the largest number of rows in a batch (None: `most_rows` computes it from the model's width). `cache_gib`:
    the memory for keys and values in GiB (None: 1 on a CPU, a quarter of the free memory on a GPU). If this memory is
    too small for `rows` rows, the batches have fewer rows. `precision`: `bf16` casts the weights to bf16 while
    sampling, and computes the log-probabilities in bf16. This is faster if memory bandwidth limits the speed.
    """

    kind: Literal["native"] = "native"
    rows: int | None = Field(default=None, ge=1)
    cache_gib: float | None = Field(default=None, gt=0)
    precision: Literal["model", "bf16"] = "model"

    @contextmanager
    def open(self, context: Context) -> Generator[NativeSampler]:
        """Yields a sampler that can sample from any model, on the device of the model."""
        yield NativeSampler(self, context.meter)

    def memory(self, load: SamplingLoad) -> float:
        """Returns the bytes of the keys and values of a batch, and of two copies of the logits of one step."""
        rows = min(self.rows or most_rows(load.model.width), load.answers)
        cached = rows * load.tokens * load.model.token_bytes
        most = self.cache_gib or (1.0 if load.device == "cpu" else cached / GIB)
        return min(cached, most * GIB) + 2 * rows * load.model.vocabulary * FP32


class NativeSampler(Sampler):
    """Samples with preflab's own decoder. For an architecture that preflab's caches do not support, logs one warning
    and samples with `generate` of transformers."""

    def __init__(self, spec: Native, meter: Meter) -> None:
        self.spec = spec
        self.meter = meter
        self._cache: Any = None
        self._support: WeakKeyDictionary[nn.Module, tuple[Any, Support]] = WeakKeyDictionary()
        self._warned: set[str] = set()

    @torch.no_grad()
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """Draws one completion for each prompt. `prompts`: the token ids of each prompt. `seeds`: one seed for each
        prompt.

        `Samples.logprobs` equals the result of `models.forward.token_logprobs` with the same temperature and with
        `Samples.kept`. Dropout is off while sampling. Afterwards, the model returns to its earlier mode. Raises
        `UserError` if a prompt does not fit into the context, or if logits are not finite.
        """
        check_request(lm, prompts, seeds, decoding)
        results = DrawnRows(lm, prompts, decoding.max_new_tokens)
        stream = uniforms(seeds, decoding.max_new_tokens).to(results.device)
        base = unwrap(lm.model)
        if self.spec.precision == "bf16" and base.device.type == "cpu":
            warn_of_slow_bf16()
        with _evaluating(base), _weights_in(base, torch.bfloat16 if self.spec.precision == "bf16" else None):
            support = self.examine(base)
            cache, self._cache = self._cache, None
            if type(cache) is not support.way.cache_type or len(cache.blocks) != support.layers:
                cache = support.way.cache_type(support.layers)
            tokens_read = 0  # the number of prompt tokens that the model processed
            most = self.spec.rows or most_rows(base.get_input_embeddings().weight.shape[1])
            for rows in batches(prompts, decoding.max_new_tokens, most, self._budget(base, support)):
                if self._served(base, support, len(prompts[rows[0]]) + decoding.max_new_tokens):
                    batch = support.way(base, cache, [prompts[row] for row in rows], decoding.max_new_tokens)
                    _complete(batch, Head(base, decoding.temperature or 1.0), rows, stream, decoding, results)
                    tokens_read += batch.tokens_read
                else:
                    tokens_read += fallback.generate(lm, rows, stream, decoding, results)
        # On a CPU, allocation is slow, so the next call uses this cache again. On a GPU, torch itself reuses freed memory.
        if results.device.type == "cpu":
            self._cache = cache
        self.meter.sampled(lm.size, tokens_read, int(results.lengths.sum()))
        exact = self.spec.precision == "model" and not in_bf16(base)
        return replace(results.samples(), exact=exact)

    def examine(self, base: nn.Module) -> Support:
        """Returns how preflab can decode with a model. Runs the trial `support.examine` at the first call, and again if
        the model's `candidates` have changed since the last trial."""
        ways = candidates(base)
        if base not in self._support or self._support[base][0] != ways:
            self._support[base] = ways, examine(base)
        return self._support[base][1]

    def _budget(self, base: Any, support: Support) -> int:
        """Returns the largest number of tokens whose keys and values fit into the cache's memory. For a model that does
        not use the cache, the returned number is practically unlimited."""
        gib = self.spec.cache_gib
        if gib is None:
            gib = torch.cuda.mem_get_info(base.device)[0] / 4 / 2**30 if base.device.type == "cuda" else 1.0
        return int(gib * 2**30 / (support.token_bytes or 1))

    def _served(self, base: nn.Module, support: Support, columns: int) -> bool:
        """Checks whether preflab's cache supports rows of `columns` tokens. If the cache does not support them, logs a
        warning once for each architecture."""
        reason = support.objection(columns)
        name = type(base).__name__
        if reason and name not in self._warned:
            self._warned.add(name)
            log.warning("%s is sampled by `generate` of transformers, which is slower: %s", name, reason)
        return not reason


def most_rows(width: int) -> int:
    """Returns the default for the largest number of rows in a batch: 131,072 / `width`, but at least 256 and at most
    1,024. `width`: the width of the hidden states.

    A batch of a narrow model has many rows, so that more rows share the overhead of calling operations. A batch of a
    wide model has fewer rows, so that the hidden states fit into the cache of a CPU core.
    """
    return min(max(2**17 // width, 256), 1024)


def _complete(
    batch: DecodeBatch, head: Head, rows: list[int], stream: Tensor, decoding: Decoding, results: DrawnRows
) -> None:
    """Draws completions for one batch, and records them in `results`. `rows`: the indices of the batch's rows in the
    request. The row with the longest prompt comes first."""
    places = torch.tensor(rows, device=results.device)
    for column in range(decoding.max_new_tokens):
        drawn = choose_tokens(head(batch.hidden), stream[places, column], decoding)
        tokens = drawn.tokens
        alive = results.add(places, column, drawn)
        if column + 1 == decoding.max_new_tokens or not bool(alive.any()):
            break
        if not bool(alive.all()):
            order = batch.keep(alive)
            places, tokens = places[order], tokens[order]
        batch.step(tokens)


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    """Turns dropout off while the context is open. Restores the mode of every module when the context closes."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _weights_in(model: nn.Module, dtype: torch.dtype | None) -> Generator[None]:
    """Casts the weights to `dtype` while the context is open, and restores the original weights when the context
    closes. If `dtype` is None, changes nothing."""
    kept = [] if dtype is None else [(weight, weight.data) for weight in model.parameters()]
    try:
        for weight, data in kept:
            weight.data = data.to(dtype) if data.is_floating_point() else data
        yield
    finally:
        for weight, data in kept:
            weight.data = data
