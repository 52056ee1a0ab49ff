"""What all sides of a row get: weights as safetensors and rows of token ids as JSON, written once and drawn with a seed.

Token N of the vocabulary is the word "wN", so that the ids can also be given as a text. This module runs in the
environments of the peers too, so it imports nothing of preflab but where a row needs a trained `tiny`.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "</s>", "<sep>", "<unk>")
PAD, END, SEPARATOR = 0, 1, 2
TEMPLATE = "{% for m in messages %}{{ m.content }}{{ '</s>' if m.role == 'assistant' else '<sep>' }}{% endfor %}"
PROMPT_MEDIAN, PROMPT_MOST, ANSWER_MEDIAN, ANSWER_MOST = 80, 384, 45, 256
"""The lengths of a long-tailed row: log-normal with a deviation of .8, cut at the most."""


def write_inputs(size: Mapping[str, Any], place: Path) -> None:
    """Writes the policy, a reward model with the same backbone and another head, and the rows of ids."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size["vocabulary"],
        hidden_size=size["width"],
        intermediate_size=size["width"] * 8 // 3,
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        num_key_value_heads=size["heads"],
        max_position_embeddings=size["context"],
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    policy = LlamaForCausalLM(config)
    config.num_labels = 1
    scorer = LlamaForSequenceClassification(config)
    scorer.model.load_state_dict(policy.model.state_dict())
    policy.save_pretrained(place / "policy")
    scorer.save_pretrained(place / "reward")
    (place / "rows.json").write_text(json.dumps(draw_rows(size)), encoding="utf-8")


def draw_rows(size: Mapping[str, Any]) -> list[dict[str, list[int]]]:
    """Returns rows of a prompt, which ends with the separator, and two answers, which end with the end of a turn."""
    draw = random.Random(0)
    count = size.get("prompts") or size["steps"] * (size.get("batch") or size["rollouts"])
    uneven = size.get("lengths") == "long-tailed"

    def words(length: int, median: int, most: int, last: int) -> list[int]:
        drawn = round(median * math.exp(draw.gauss(0.0, 0.8))) if uneven else length
        return [draw.randrange(len(SPECIAL), size["vocabulary"]) for _ in range(min(max(drawn, 4), most) - 1)] + [last]

    return [
        {
            "prompt": words(size["prompt"], PROMPT_MEDIAN, PROMPT_MOST, SEPARATOR),
            "chosen": words(size["answer"], ANSWER_MEDIAN, ANSWER_MOST, END),
            "rejected": words(size["answer"], ANSWER_MEDIAN, ANSWER_MOST, END),
        }
        for _ in range(count)
    ]


def read_rows(place: Path) -> list[dict[str, list[int]]]:
    return json.loads((place / "rows.json").read_text(encoding="utf-8"))


def text_of(ids: Sequence[int]) -> str:
    """Returns the words of these ids. The chat template writes the special tokens."""
    return " ".join(f"w{number}" for number in ids if number >= len(SPECIAL))


def make_tokenizer(vocabulary: int) -> Any:
    """Makes the tokenizer whose token N is the word "wN", with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(SPECIAL)}
    words |= {f"w{number}": number for number in range(len(SPECIAL), vocabulary)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]  # its stubs declare a base class
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"sep_token": "<sep>"},
        padding_side="left",
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def write_trained_tiny(train: int, place: Path) -> None:
    """Trains `tiny` on minicode as the quickstart study does, so that its answers are programs of the usual length."""
    import preflab

    testbed = {"kind": "minicode", "train": train, "validation": 8, "test": 8}
    settings = {"epochs": 5, "batch_size": 16, "optim": {"learning_rate": 2e-3}}
    preflab.fit("sft", output=place / "tiny", settings=settings, testbed=testbed, measure="none")
