"""The embedded model: a Llama-like network of some 0.3M parameters with a tokenizer of its own; neither needs a file.

The tokenizer has whole words (each with the space before it) and bytes. A known word is one token; any other text becomes
bytes, so that every text comes back from its ids unchanged. The initial weights are scaled integers drawn from a seed, so
that they are the same bits on every machine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from preflab.models.chat import ChatForm
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape

PAD, END, SEPARATOR = "<pad>", "</s>", "<sep>"
SPECIAL = (PAD, END, SEPARATOR)
PAD_ID, END_ID = 0, 1
_SPELLED_NAME = "<(?=0x[0-9A-F]{2}>|pad>|/s>|sep>)"
TINY_INTEGERS = tuple(str(number) for number in range(-99, 100))
TEMPLATE = "{% for m in messages %}{{ m.content }}{{ '</s>' if m.role == 'assistant' else '<sep>' }}{% endfor %}"


def make_tiny(shape: TinyShape, *, seed: int) -> LanguageModel:
    """Makes a model of that shape in fp32 on the CPU; the seed draws its weights."""
    tokenizer = wrap_tokenizer(make_tokenizer(shape.words))
    model = make_network(shape, len(tokenizer))
    draw_weights(model, seed)
    form = ChatForm(control=SPECIAL)
    return LanguageModel(model.eval(), tokenizer, end_ids=(END_ID,), pad_id=PAD_ID, context=shape.context, form=form)


def make_tokenizer(words: tuple[str, ...]) -> Tokenizer:
    """Makes a unigram tokenizer over the special tokens, 256 bytes and " word" for each word and integer.

    A space is put before the text and removed after decoding, so that the first word is one token as well. If a text spells
    the name of a byte or a special token ("<0x41>", "</s>"), the `<` of the name is split off, so that the name is encoded
    as text.
    """
    pieces = [(token, 0.0) for token in SPECIAL]
    pieces += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    pieces += [(f" {word}", -1.0) for word in dict.fromkeys((*TINY_INTEGERS, *words))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=PAD_ID, byte_fallback=True))
    tokenizer.normalizer = normalizers.Prepend(" ")  # type: ignore[assignment]  # its stubs declare a base class
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_SPELLED_NAME), "isolated")  # type: ignore[assignment]  # as above
    tokenizer.decoder = decoders.Sequence(  # type: ignore[assignment]  # as above
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return tokenizer


def wrap_tokenizer(tokenizer: Tokenizer) -> Any:
    """Wraps the tokenizer in an object of transformers, which saves and reads it."""
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={"sep_token": SEPARATOR},
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def make_network(shape: TinyShape, vocabulary: int) -> Any:
    """Makes a Llama of that shape with arbitrary weights; the global random state does not change."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        pad_token_id=PAD_ID,
        bos_token_id=None,
        eos_token_id=END_ID,
    )
    with torch.random.fork_rng(devices=[]):
        return LlamaForCausalLM(config)


@torch.no_grad()
def draw_weights(model: Any, seed: int) -> None:
    """Draws every matrix uniformly, with standard deviation 1/sqrt(width); vectors (the norms' gains) stay 1.

    The weights come from raw 64-bit draws of PCG64, whose stream never changes, through exact arithmetic: they do not depend
    on how a library or processor computes a normal deviate. At these widths a model with the customary .02 trains much more
    slowly.
    """
    bits = np.random.PCG64(seed)
    bound = math.sqrt(3.0 / model.get_input_embeddings().weight.shape[1])  # gives that deviation
    for parameter in model.parameters():
        if parameter.dim() > 1:
            units = (bits.random_raw(parameter.numel()) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1
            parameter.copy_(torch.from_numpy(units).view(parameter.shape) * bound)
