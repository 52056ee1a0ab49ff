"""Small random models of several families, built without a hub, and the plain way to ask a sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding, Samples
from preflab.sampling.native import Native, NativeSampler
from preflab.spec import Context

VOCABULARY, PAD, ENDS, CONTEXT = 61, 60, (7, 9), 64
IDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "vocab_size": VOCABULARY}
# Weights far larger than a training run starts from, so that the distributions are uneven and mistakes show.
WIDE: dict[str, Any] = {**IDS, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
WIDE |= {
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**WIDE),
    "qwen2": lambda: Qwen2Config(**WIDE),
    "qwen3": lambda: Qwen3Config(**WIDE, head_dim=8),
    "gpt2": lambda: GPT2Config(**IDS, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, initializer_range=0.3),
    "gpt-neo": lambda: GPTNeoConfig(
        **IDS,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        intermediate_size=48,
        attention_types=[[["global", "local"], 1]],
        window_size=12,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    ),
    "mistral": lambda: MistralConfig(**WIDE, sliding_window=12),
    "gemma2": lambda: Gemma2Config(**WIDE, head_dim=8, sliding_window=12),
    "bloom": lambda: BloomConfig(**IDS, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3),
    "mamba": lambda: MambaConfig(**IDS, hidden_size=32, num_hidden_layers=2, state_size=8),
}


def build(name: str, *, ends: tuple[int, ...] = ENDS, pad: int = PAD) -> LanguageModel:
    """A random model of a family, the same at every call."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    return LanguageModel(model, None, end_ids=ends, pad_id=pad, context=CONTEXT)


def random_prompts(count: int, seed: int = 1, longest: int = 13) -> list[list[int]]:
    """Prompts of 1 to `longest` ids."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=draw).tolist()
    return [torch.randint(0, VOCABULARY - 1, (length,), generator=draw).tolist() for length in lengths]


def ask(
    sampler: NativeSampler, lm: LanguageModel, prompts: Sequence[Sequence[int]], seeds: Sequence[int], **decoding: Any
) -> Samples:
    return sampler.sample(lm, prompts, seeds=seeds, decoding=Decoding(**{"max_new_tokens": 10, **decoding}))


def completions(samples: Samples) -> list[list[int]]:
    """The drawn ids of each row, without padding."""
    batch = samples.batch
    lengths = batch.completion_lengths.tolist()
    return [ids[:length] for ids, length in zip(batch.completion_ids.tolist(), lengths, strict=True)]


@pytest.fixture(scope="session")
def llama() -> LanguageModel:
    return build("llama")


@pytest.fixture
def sampler() -> Iterator[NativeSampler]:
    with Native().open(Context()) as opened:
        yield opened
