"""Finds the end-of-turn tokens and the padding token of a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from preflab.errors import UserError

PADDING_NAMES = (r"pad", r"unk", r"reserved|unused|extra", r"sep|empty", r"fim|repo|file|mask")


def end_ids(tokenizer: Any, model: Any, written: Sequence[int], *, where: str) -> tuple[int, ...]:
    """Returns all ids that end a turn. `written`: the ids with which the chat template ends answers. They come first in
    the result.

    After them come the end ids of three sources: the tokenizer, the generation settings and the model's configuration.
    An id of these sources is left out if the model's embedding has no row for this id, because the model cannot write
    it. Raises `UserError` if there is no end id, or if the value in a source is not an integer, a list of integers, or
    None.
    """
    generation = getattr(model, "generation_config", None)
    named = {
        "tokenizer_config.json": tokenizer.eos_token_id,
        "generation_config.json": getattr(generation, "eos_token_id", None),
        "config.json": model.config.eos_token_id,
    }
    rows = model.get_input_embeddings().weight.shape[0]
    listed = [index for file, value in named.items() for index in _list_ids(value, f"{where}/{file}")]
    ids = [*written, *(index for index in listed if 0 <= index < rows)]
    if not ids:
        raise UserError(
            f"The tokenizer of {where} has no end token, so an answer could never end. Set `eos_token` in its "
            "tokenizer_config.json to the token that ends a turn."
        )
    return tuple(dict.fromkeys(ids))


def _list_ids(value: Any, file: str) -> list[int]:
    """Returns the ids in the setting `eos_token_id` of a file as a list. The value of this setting is an integer, a
    list of integers, or None for no id."""
    ids = [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
    if any(not isinstance(index, int) or isinstance(index, bool) for index in ids):
        raise UserError(
            f"{file}: eos_token_id is {value!r}. It must be a whole number or a list of whole numbers: the ids of the tokens "
            "that end a text."
        )
    return ids


def check_embedding(tokenizer: Any, used: Iterable[int], *, rows: int, where: str) -> None:
    """Raises `UserError` if the model's embedding has no row for a token that is needed. All tokens in the tokenizer's
    base vocabulary and all `used` ids are needed. Other added tokens do not need a row. `rows`: the number of rows of
    the embedding."""
    needed = set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder) | set(used)
    lacking = [index for index in needed if index >= rows]
    if lacking:
        token = tokenizer.convert_ids_to_tokens(min(lacking))
        raise UserError(
            f"{where}: the tokenizer does not belong to the model, because the model's embedding has no row for the token "
            f"{token!r}."
        )


def pad_id(tokenizer: Any, model: Any, used: Sequence[int], ends: tuple[int, ...]) -> int:
    """Returns a padding id that differs from every end id. Also sets this id as the padding id of the tokenizer and of
    the model.

    If the tokenizer's present padding id differs from every end id, this id is returned. Otherwise, the id of a
    suitable special token that is not in `used` is returned. If there is no such token, a new id is returned. If the
    embedding has no row for the returned id, it gets a new row, which is the mean of all rows.
    """
    own = tokenizer.pad_token_id
    if own is None or own in ends:
        token = _unused_special(tokenizer, {*used, *ends, tokenizer.bos_token_id})
        tokenizer.add_special_tokens({"pad_token": token or "<pad>"})
        own = int(tokenizer.pad_token_id)
    if own >= model.get_input_embeddings().weight.shape[0]:
        _enlarge_embeddings(model, own + 1)
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = own
    return own


def pad_on(tokenizer: Any, side: str) -> None:
    """Sets the side on which the tokenizer pads. A policy needs padding on the left, because `generate` of transformers
    requires it. A reward model needs padding on the right.

    Also changes `init_kwargs`, because transformers saves the tokenizer with these arguments.
    """
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side


def special_ids(tokenizer: Any) -> set[int]:
    """Returns the ids of all special tokens of a tokenizer, including added tokens that are special."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _unused_special(tokenizer: Any, used: set[int]) -> str | None:
    """Returns the name of an unused special token that is suitable as the padding token. The name must match one of
    `PADDING_NAMES`, and earlier patterns are preferred. Returns None if no name matches. `used`: the ids that are in
    use."""
    unused = [tokenizer.convert_ids_to_tokens(index) for index in sorted(special_ids(tokenizer) - used)]
    return next((name for rule in PADDING_NAMES for name in unused if re.search(rule, name.lower())), None)


def _enlarge_embeddings(model: Any, rows: int) -> None:
    """Enlarges the input and output embeddings of a model to `rows` rows. Each new row is the mean of the old rows."""
    import torch

    old = model.get_input_embeddings().weight.shape[0]
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        for layer in filter(None, layers):  # a sequence classifier has no vocabulary head
            layer.weight[old:] = layer.weight[:old].mean(0)
            if getattr(layer, "bias", None) is not None:
                layer.bias[old:] = layer.bias[:old].mean()
