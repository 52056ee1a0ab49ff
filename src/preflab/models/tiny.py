"""Makes the built-in model `tiny`: a Llama-like network of about 0.3M parameters, and its tokenizer. No files are
needed.

The tokenizer's vocabulary contains whole words, each with the space before the word, and bytes. A known word is one
token. Any other text becomes bytes, so that decoding restores every text exactly. The initial weights are scaled
integers that are drawn with a seed, so that they are bitwise equal on every machine.
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
    """Makes a model with the given shape, in fp32 on the CPU. Its weights are drawn with `seed`."""
    tokenizer = wrap_tokenizer(make_tokenizer(shape.words))
    model = make_network(shape, len(tokenizer))
    draw_weights(model, seed)
    form = ChatForm(control=SPECIAL)
    return LanguageModel(model.eval(), tokenizer, end_ids=(END_ID,), pad_id=PAD_ID, context=shape.context, form=form)


def make_tokenizer(words: tuple[str, ...]) -> Tokenizer:
    """Makes a unigram tokenizer. Its vocabulary contains the special tokens, the 256 bytes, and each word and integer
    with a space before it.

    The tokenizer puts a space before the text, so that the first word is also one token. Decoding removes this space. A
    text may contain the name of a byte or of a special token ("<0x41>", "</s>"). The `<` of such a name is split off,
    so that the name is encoded as ordinary text.
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
    """Wraps the tokenizer in a tokenizer class of transformers, so that transformers can save and load it."""
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
    """Makes a Llama network of the given shape with arbitrary weights. The global random state does not change.
    `vocabulary`: the number of tokens in the vocabulary."""
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
    """Draws the entries of every matrix of the model from a uniform distribution with mean 0 and standard deviation
    1/sqrt(width). Vectors (the gains of the norms) keep the value 1.

    The weights are computed by exact arithmetic from raw 64-bit numbers of the generator PCG64. These numbers are the
    same in every version of NumPy. Therefore, the weights do not depend on how a library or processor computes random
    floating point numbers. With the usual standard deviation .02, a model of this width trains much more slowly.
    """
    bits = np.random.PCG64(seed)
    bound = math.sqrt(3.0 / model.get_input_embeddings().weight.shape[1])  # for a standard deviation of 1/sqrt(width)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            units = (bits.random_raw(parameter.numel()) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1
            parameter.copy_(torch.from_numpy(units).view(parameter.shape) * bound)
