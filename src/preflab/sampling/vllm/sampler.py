"""The sampler `vllm`, which draws with vLLM.

The weights of the model are written to memory (`/dev/shm`) before each draw, and vLLM reads them in place, without a
restart. Prompts and answers are exchanged as token ids, never as text. vLLM computes with other kernels than preflab,
and usually in bf16. Therefore its log-probabilities differ from the learner's, and the same seed need not give the same
answer again: `Samples.exact` and `Sampler.repeatable` are False.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file

from preflab.batch import KeptTokens, collate
from preflab.errors import UserError
from preflab.fields import Count, Positive
from preflab.meter import Meter
from preflab.models import lora
from preflab.models.footprint import GIB
from preflab.models.forward import unwrap
from preflab.models.lm import LanguageModel
from preflab.paths import user_path
from preflab.sampling.base import Decoding, Sampler, Samples
from preflab.sampling.request import check_request
from preflab.sampling.spec import SamplerSpec, SamplingLoad
from preflab.sampling.vllm.engine import DrawnRow, DrawOrder, Engine, check_interpreter, shared_engine
from preflab.spec import Context

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SHARED_MEMORY = Path("/dev/shm")
"""A directory in the main memory, in which weights are exchanged if it has room for them."""
VLLM_PROCESS = 1.0 * GIB
"""The bytes of main memory that vLLM's process takes in addition to weights and cache. In one measurement on a CPU, a
process with .5 GiB of weights and a cache of 1 GiB took 2.5 GiB."""
TIES = 16
"""The number of tokens beyond k whose log-probabilities are read with top-k, because vLLM keeps all ties at rank k."""


class Vllm(SamplerSpec):
    """The settings of the sampler `vllm`.

    `python`: the interpreter of the environment in which vLLM is installed ('': the interpreter that runs preflab).
    `gpus`: the numbers of the GPUs that only vLLM uses. Without `gpus`, vLLM shares the GPU of the policy, and sleeps
    between two draws: it then gives back its memory. `memory_share`: the share of each GPU's memory that vLLM may use.
    `cache_gib`: the memory for keys and values in GiB (None: the rest of `memory_share` on a GPU, 1 on a CPU).
    `tensor_parallel`: the number of GPUs over which each layer is split. `max_model_length`: the largest number of
    tokens of a prompt and its answer (None: the model's context). `dtype`: the precision of vLLM's weights. `eager`:
    if true, vLLM records no CUDA graphs and compiles nothing: it starts faster and draws more slowly.
    `importance_cap`: the largest weight of the truncated importance correction (see
    `losses.policy.truncated_importance`), which the policy-gradient methods then apply; None for no correction.
    """

    kind: Literal["vllm"] = "vllm"
    python: str = ""
    gpus: tuple[int, ...] = ()
    memory_share: float = Field(default=0.4, gt=0, le=1)
    cache_gib: Positive | None = None
    tensor_parallel: Count = 1
    max_model_length: Count | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    eager: bool = False
    importance_cap: float | None = Field(default=None, ge=1)

    @contextmanager
    def open(self, context: Context) -> Generator[VllmSampler]:
        """Yields a sampler. vLLM starts at the first draw. Raises `UserError` if the interpreter lacks vLLM, or if
        `gpus` does not suffice for `tensor_parallel`."""
        if self.gpus and len(self.gpus) != self.tensor_parallel:
            raise UserError(
                f"The sampler `vllm` has {len(self.gpus)} `gpus`, but `tensor_parallel` is {self.tensor_parallel}. "
                "Name as many GPUs as `tensor_parallel` needs."
            )
        python = str(user_path(self.python)) if self.python else sys.executable
        check_interpreter(python)
        with shared_engine(self, python) as engine:
            yield VllmSampler(self, context.meter, engine)

    def memory(self, load: SamplingLoad) -> float:
        """On a CPU, returns the bytes of vLLM's weights, of its keys and values, and of its process. On a GPU, returns 0:
        vLLM gives its memory back while the policy trains."""
        if load.device != "cpu":
            return 0.0
        return load.model.parameters * DTYPES[self.dtype].itemsize + (self.cache_gib or 1.0) * GIB + VLLM_PROCESS


class VllmSampler(Sampler):
    """Samples with an `Engine`."""

    repeatable = False

    def __init__(self, spec: Vllm, meter: Meter, engine: Engine) -> None:
        self.spec = spec
        self.meter = meter
        self.engine = engine

    @torch.no_grad()
    def sample(
        self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, seeds: Sequence[int], decoding: Decoding
    ) -> Samples:
        """Draws one completion for each prompt, with the present weights of the model. `seeds`: one seed for each
        prompt. Equal prompts share the keys and values of their tokens.

        `Samples.logprobs` are vLLM's. Raises `UserError` if a prompt does not fit into the context, if vLLM fails, or
        if a log-probability is not finite.
        """
        check_request(lm, prompts, seeds, decoding)
        length = self.spec.max_model_length or lm.context
        longest = max(map(len, prompts)) + decoding.max_new_tokens
        if longest > length:
            raise UserError(
                f"A prompt and its completion can have {longest} tokens, but `max_model_length` of the sampler `vllm` is "
                f"{length}. Raise it, or lower `max_new_tokens`."
            )
        if lm.model.device.type == "cuda" and not self.spec.gpus:
            torch.cuda.empty_cache()  # vLLM wakes up on the same GPU
        with written_weights(lm, DTYPES[self.spec.dtype]) as directory:
            order = DrawOrder(
                directory,
                engine_settings(self.spec, lm),
                prompts,
                sampling_params(lm, decoding),
                seeds,
                visible_gpus(self.spec, lm.model.device),
            )
            rows = self.engine.draw(order)
        read = sum(len(prompt) - row.cached for prompt, row in zip(prompts, rows, strict=True))
        self.meter.sampled(lm.size, read, sum(len(row.ids) for row in rows))
        return make_samples(lm, prompts, rows, cap=self.spec.importance_cap)


def engine_settings(spec: Vllm, lm: LanguageModel) -> dict[str, Any]:
    """Returns the arguments of vLLM's `LLM`, except the model. The log-probabilities are those after temperature, top-k
    and top-p. The model's own sampling defaults are ignored."""
    on_gpu = lm.model.device.type == "cuda" or bool(spec.gpus)
    cache_gib = spec.cache_gib or (None if on_gpu else 1.0)
    settings: dict[str, Any] = {
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "max_logprobs": -1,
        "enable_prefix_caching": True,
        "seed": 0,
        "dtype": spec.dtype,
        "max_model_len": spec.max_model_length or lm.context,
        "tensor_parallel_size": spec.tensor_parallel,
        "enforce_eager": spec.eager,
    }
    if cache_gib is not None:
        settings["kv_cache_memory_bytes"] = int(cache_gib * 2**30)
    if not on_gpu and tied_head(lm):
        settings["hf_overrides"] = {"tie_word_embeddings": False}  # see `written_weights`
    if on_gpu:
        settings |= {"gpu_memory_utilization": spec.memory_share, "enable_sleep_mode": not spec.gpus}
    return settings


def sampling_params(lm: LanguageModel, decoding: Decoding) -> dict[str, Any]:
    """Returns the arguments of vLLM's `SamplingParams`, except the seed. `logprobs` is the number of most probable
    tokens whose log-probabilities vLLM returns, from which the kept ids are read: -1 for the whole vocabulary."""
    vocabulary = lm.model.config.get_text_config().vocab_size
    if decoding.temperature == 0:
        return _params(lm, decoding, logprobs=0, top_k=0, top_p=1.0)
    reported = decoding.top_k + TIES if decoding.top_k else 0
    if decoding.top_p < 1 and not decoding.top_k:
        reported = vocabulary
    top_k = min(decoding.top_k, vocabulary)
    return _params(lm, decoding, logprobs=-1 if reported >= vocabulary else reported, top_k=top_k, top_p=decoding.top_p)


def _params(lm: LanguageModel, decoding: Decoding, *, logprobs: int, top_k: int, top_p: float) -> dict[str, Any]:
    return {
        "temperature": decoding.temperature,
        "top_k": top_k,
        "top_p": top_p,
        "max_tokens": decoding.max_new_tokens,
        "logprobs": logprobs,
        "flat_logprobs": True,
        "detokenize": False,
        "ignore_eos": True,  # the model's end ids are `stop_token_ids`
        "stop_token_ids": list(lm.end_ids),
    }


def visible_gpus(spec: Vllm, device: torch.device) -> str:
    """Returns the value of CUDA_VISIBLE_DEVICES with which vLLM sees its GPUs: `gpus`, or the policy's GPU and, for
    `tensor_parallel`, those after it. The numbers count the GPUs that this process sees. Returns '' on a CPU."""
    first = device.index or 0
    shared = range(first, first + spec.tensor_parallel) if device.type == "cuda" else ()
    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    numbers = spec.gpus or shared
    if seen and any(number >= len(seen) for number in numbers):
        raise UserError(
            f"The sampler `vllm` needs GPU {max(numbers)}, but this process sees {len(seen)} GPUs, numbered from 0. Name "
            "other `gpus`, or lower `tensor_parallel`."
        )
    return ",".join(seen[number] if seen else str(number) for number in numbers)


@contextmanager
def written_weights(lm: LanguageModel, dtype: torch.dtype) -> Generator[Path]:
    """Writes the weights of a model to a temporary directory, in memory if there is room, and yields the directory.
    Adapters are merged into the written weights.

    On a CPU, vLLM packs the matrix of the vocabulary head into a copy, and does not renew this copy if the head is also
    the embedding: it would go on to draw with the old head. Therefore the head is written as a matrix of its own.
    """
    size = sum(parameter.numel() for parameter in lm.model.parameters()) * dtype.itemsize
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 1.5 * size
    with tempfile.TemporaryDirectory(prefix="preflab-weights-", dir=SHARED_MEMORY if roomy else None) as name:
        lora.save_plain(lm.model, Path(name), dtype=dtype)
        head = tied_head(lm) if lm.model.device.type == "cpu" else ""
        if head:
            weight = unwrap(lm.model).get_input_embeddings().weight
            save_file({head: weight.detach().to(dtype, copy=True)}, Path(name) / "head.safetensors")
        yield Path(name)


def tied_head(lm: LanguageModel) -> str:
    """Returns the name of the weight of the vocabulary head if it is the tensor of the embedding, and '' otherwise."""
    base = unwrap(lm.model)
    head = base.get_output_embeddings()
    if head.weight.data_ptr() != base.get_input_embeddings().weight.data_ptr():
        return ""
    return next(f"{name}.weight" for name, module in base.named_modules() if module is head)


def make_samples(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], rows: Sequence[DrawnRow], *, cap: float | None
) -> Samples:
    """Converts vLLM's answers. Raises `UserError` if a log-probability is not finite."""
    for number, row in enumerate(rows):
        if not all(map(math.isfinite, row.logprobs)):
            raise UserError(
                f"vLLM's log-probabilities of row {number} (a prompt of {len(prompts[number])} tokens) are not finite. The "
                "weights have probably diverged (lower the learning rate, or go back to an earlier checkpoint), or half "
                "precision overflows (set `dtype: float32`)."
            )
    truncated = [row.ids[-1] not in lm.end_ids for row in rows]
    batch = collate(prompts, [row.ids for row in rows], truncated)
    logprobs = torch.zeros(batch.completion_ids.shape)
    for number, row in enumerate(rows):
        logprobs[number, : len(row.logprobs)] = torch.tensor(row.logprobs)
    kept = stack_kept([row.kept for row in rows]) if rows[0].kept else None
    return Samples(batch, logprobs, kept, exact=False, importance_cap=cap)


def stack_kept(rows: Sequence[Sequence[Sequence[int]]]) -> KeptTokens:
    """Pads the kept ids of each token to one width, by the last id. `rows[b][t]`: the kept ids of token t of row b, in
    ascending order."""
    longest, widest = max(map(len, rows)), max(len(ids) for row in rows for ids in row)
    ids = torch.zeros(len(rows), longest, widest, dtype=torch.int32)
    counts = torch.zeros(len(rows), longest, dtype=torch.int32)
    for number, row in enumerate(rows):
        counts[number, : len(row)] = torch.tensor([len(kept) for kept in row])
        ids[number, : len(row)] = torch.tensor([[*kept, *[kept[-1]] * (widest - len(kept))] for kept in row])
    return KeptTokens(ids, counts)
