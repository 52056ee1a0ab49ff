"""Models of a few thousand weights, their tokenizer, the rows that they see, and the spies on what passes through."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

disable_progress_bars()
logging.disable_progress_bar()

WORDS = ["the", "a", "cat", "dog", "bird", "fish", "sees", "likes", "chases", "finds", "big", "small", "red"]
SPECIAL = ["<pad>", "<end>", "<unk>"]

# Answers of unequal length, so that a normalisation by length cannot hide.
PAIRS = [
    {"prompt": "the cat sees", "chosen": " a big red fish", "rejected": " the dog"},
    {"prompt": "a dog likes the", "chosen": " bird", "rejected": " small red cat sees a"},
    {"prompt": "the bird", "chosen": " finds the small fish", "rejected": " chases big a cat"},
    {"prompt": "a fish chases", "chosen": " the big", "rejected": " red"},
]

# What every trainer needs to run on a CPU, in float32, silently, with nothing sampled at a temperature.
COMMON: dict[str, Any] = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "save_strategy": "no",
    "per_device_train_batch_size": 4,
    "seed": 0,
}


def settings(**fields: Any) -> dict[str, Any]:
    """`COMMON`, a folder to write to, and the fields of the case."""
    return {"output_dir": tempfile.mkdtemp(prefix="parity-"), **COMMON, **fields}


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; padding and end of turn are two tokens."""
    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")


def config(**fields: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.25,  # logits that differ visibly between tokens and between models
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        **fields,
    )


def policy(seed: int = 1) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(config())


def near(seed: int, distance: float = 0.1) -> LlamaForCausalLM:
    """The policy with every weight moved: a reference whose log-ratios are neither 0 nor huge."""
    model = policy()
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(distance * weight.std().nan_to_num() * torch.randn_like(weight))
    return model


def saved(model: LlamaForCausalLM) -> str:
    """A folder that holds the model, for trainers that load by path."""
    folder = tempfile.mkdtemp(prefix="parity-")
    model.save_pretrained(folder)
    return folder


def scorer(seed: int) -> LlamaForSequenceClassification:
    """A reward model or critic: one number a token, read at the last one."""
    torch.manual_seed(seed)
    return LlamaForSequenceClassification(config(num_labels=1))


def dataset(rows: Sequence[Mapping[str, Any]]) -> Dataset:
    return Dataset.from_list([dict(row) for row in rows])


class Spy:
    """Stands in for a function: calls it, keeps what `pick` takes of its result, and that tensor's gradient."""

    def __init__(self, function: Callable[..., Any], pick: Callable[[Any], Any] = lambda result: result) -> None:
        self.function, self.pick = function, pick
        self.seen: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.function(*args, **kwargs)
        self.keep(result)
        return result

    def keep(self, result: Any) -> None:
        picked = self.pick(result)
        if isinstance(picked, Tensor) and picked.requires_grad:
            picked.retain_grad()
        self.seen.append(picked)

    @property
    def last(self) -> Any:
        return self.seen[-1]


def spy_on_outputs(model: torch.nn.Module, pick: Callable[[Any], Any]) -> Spy:
    """A spy on what a model returns, wherever it is called."""
    spy = Spy(lambda output: output, pick)
    model.register_forward_hook(lambda _module, _args, output: spy.keep(output))
    return spy


def numbers(values: Any) -> Any:
    """A tensor as nested lists: what JSON holds. A float has the fewest digits that float32 can tell apart."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().tolist()
    if isinstance(values, list):
        return [numbers(value) for value in values]
    return float(str(numpy.float32(values))) + 0.0 if isinstance(values, float) else values  # + 0.0: no -0.0


def case(name: str, path: str, *, settings: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]):
    """One record: `path` is the code that ran, `settings` what it was given, `inputs` and `outputs` plain numbers."""
    return {
        "name": name,
        "path": path,
        "settings": dict(settings),
        "inputs": {key: numbers(value) for key, value in inputs.items()},
        "outputs": {key: numbers(value) for key, value in outputs.items()},
    }
