"""The native sampler against transformers' `generate`: the same weights, prompts and lengths, in one run.

    python benchmarks/sampling.py [--threads 1] [--repeats 5] [--out result.json]

Two workloads on a Llama of 343,776 random parameters (width 96, 4 layers, 500 ids): 256 different prompts of 40 to 59
tokens, and 64 of them four times. About one token in thirteen ends a completion (mean 12, at most 32). Both sides
sample at temperature 1 from the whole vocabulary, prefill included; `native` also returns the log-probabilities. Each
figure is the best of the repeats, which alternate; one JSON object is printed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Sampler
from preflab.sampling.native import Native
from preflab.spec import Context

NEW_TOKENS = 32
END_IDS = tuple(range(1, 40))


def tiny() -> LanguageModel:
    """The model of the workloads; its 39 end ids make completions end as early as real ones."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LanguageModel(LlamaForCausalLM(config).eval(), None, END_IDS, pad_id=0, context=256)


def workload(copies: int) -> list[list[int]]:
    """256 prompts, each of them `copies` times."""
    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(40, 60, (256 // copies,), generator=draw).tolist()
    return [ids for n in lengths for ids in [torch.randint(40, 500, (n,), generator=draw).tolist()] * copies]


def native(sampler: Sampler, lm: LanguageModel, prompts: list[list[int]]) -> int:
    """Tokens sampled by preflab."""
    decoding = Decoding(max_new_tokens=NEW_TOKENS)
    samples = sampler.sample(lm, prompts, seeds=range(len(prompts)), decoding=decoding)
    return int(samples.batch.completion_lengths.sum())


def generate(lm: LanguageModel, prompts: list[list[int]]) -> int:
    """Tokens sampled by transformers, left-padded in one batch; what it draws behind an end token does not count."""
    width = max(map(len, prompts))
    ids = torch.tensor([[lm.pad_id] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    drawn = lm.model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=NEW_TOKENS,
        do_sample=True,
        top_k=0,
        eos_token_id=list(END_IDS),
        pad_token_id=lm.pad_id,
    )[:, width:]
    ended = torch.isin(drawn, torch.tensor(END_IDS))
    return int((ended.cumsum(1) - ended.int() == 0).sum())


def rate(run: Callable[[LanguageModel, list[list[int]]], int], lm: LanguageModel, prompts: list[list[int]]) -> float:
    """Sampled tokens a second of one run."""
    start = time.perf_counter()
    tokens = run(lm, prompts)
    return tokens / (time.perf_counter() - start)


def compare(copies: int, repeats: int) -> dict[str, float]:
    """Both rates on one workload and their ratio; the first of the alternating runs only warms up."""
    lm, prompts = tiny(), workload(copies)
    with Native().open(Context()) as sampler:
        ours = partial(native, sampler)
        rounds = [(rate(ours, lm, prompts), rate(generate, lm, prompts)) for _ in range(repeats + 1)][1:]
    best, theirs = (max(column) for column in zip(*rounds, strict=True))
    return {
        "native_tokens_per_second": round(best),
        "generate_tokens_per_second": round(theirs),
        "ratio": round(best / theirs, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the JSON there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {
        "benchmark": "sampling",
        "parameters": sum(weight.numel() for weight in tiny().model.parameters()),
        "threads": options.threads,
        "repeats": options.repeats,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.platform(),
        "different prompts": compare(1, options.repeats),
        "each prompt four times": compare(4, options.repeats),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
