"""Small random models of three families, saved as their makers would save them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from preflab.models.tiny import make_tokenizer

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BRACKETS = (  # writes its BOS itself, as Llama 2's
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[Q] ' + m.content + ' [A]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def byte_level(special: list[str]) -> Tokenizer:
    """Byte-level BPE without merges, special tokens first: 256 bytes, GPT-2's alphabet."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def save_gpt2(directory: Path) -> Path:
    """A base model as GPT-2: one special token for everything, no padding token, no chat template."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(directory)
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=byte_level([end]), bos_token=end, eos_token=end, unk_token=end
    ).save_pretrained(directory)
    return directory


def save_qwen2(directory: Path) -> Path:
    """A chat model as Qwen2: turns end with <|im_end|>, text with <|endoftext|>; its padding token is an end token."""
    torch.manual_seed(1)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    config = Qwen2Config(
        vocab_size=272,  # rows to spare, as Qwen2 has them
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=2,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [2, 0]
    model.save_pretrained(directory)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(special), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(directory)
    return directory


def save_llama(directory: Path) -> Path:
    """A chat model as Llama 2: the tokenizer puts a space before a text, the template writes BOS; pad == eos."""
    torch.manual_seed(2)
    backend = make_tokenizer(("is", "it", "so?", "yes", "[Q]", "[A]"))
    backend.add_special_tokens([AddedToken("<s>", normalized=False, special=True)])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = BRACKETS
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


FAMILIES: dict[str, Callable[[Path], Path]] = {"gpt2": save_gpt2, "qwen2": save_qwen2, "llama": save_llama}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory of each family's model."""
    return {name: save(tmp_path_factory.mktemp("models") / name) for name, save in FAMILIES.items()}


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest, saved: dict[str, Path]) -> Path:
    """One family's directory after another."""
    return saved[request.param]


def chat_tokenizer(
    template: str | None,
    *,
    special: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"),
    plain: tuple[str, ...] = (),
    eos: str = "<|im_end|>",
    backend: Tokenizer | None = None,
) -> Any:
    """A byte-level tokenizer, or one of another `backend`, with a chat template. `plain`: added tokens that are not special."""
    backend = backend or byte_level(list(special))
    backend.add_tokens([AddedToken(token, normalized=False, special=False) for token in plain])
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[0], eos_token=eos, pad_token="<pad>"
    )
    tokenizer.chat_template = template
    return tokenizer


def save_chat(directory: Path, template: str | None, *, rows: int = 320, seed: int = 0, **how: Any) -> Path:
    """A one-layer Llama whose embedding has `rows` rows, with `chat_tokenizer(template, **how)`."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        eos_token_id=None,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    chat_tokenizer(template, **how).save_pretrained(directory)
    return directory
