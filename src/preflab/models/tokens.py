"""What training needs to know about any tokenizer: the tokens that end a turn, and the padding."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from preflab.errors import UserError

PADDING_NAMES = (r"pad", r"unk", r"reserved|unused|extra", r"sep|empty", r"fim|repo|file|mask")


def end_ids(tokenizer: Any, model: Any, written: Sequence[int], *, where: str) -> tuple[int, ...]:
    """Returns every id that ends a turn: first the ids that the template writes (`written`).

    Then come the end ids of the tokenizer, of the generation settings and of the configuration. Raises `UserError` if there
    are no end ids.
    """
    ids = list(written)
    generation = getattr(model, "generation_config", None)
    for source in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None), model.config.eos_token_id):
        ids += [] if source is None else source if isinstance(source, list) else [source]
    if not ids:
        raise UserError(
            f"The tokenizer of {where} has no end token, so no answer could end. Set `eos_token` in its "
            "tokenizer_config.json to the token that ends a turn."
        )
    return tuple(dict.fromkeys(ids))


def check_embedding(tokenizer: Any, used: Iterable[int], *, rows: int, where: str) -> None:
    """Raises `UserError` if the embedding, which has `rows` rows, lacks a row for a token of the tokenizer's vocabulary or
    for a `used` token. The embedding may lack rows for added tokens that no dialogue holds."""
    needed = set(tokenizer.get_vocab().values()) - set(tokenizer.added_tokens_decoder) | set(used)
    lacking = [index for index in needed if index >= rows]
    if lacking:
        token = tokenizer.convert_ids_to_tokens(min(lacking))
        raise UserError(
            f"{where}: the tokenizer has more tokens than the model, whose embedding has no row for {token!r}. They do not "
            "belong together."
        )


def pad_id(tokenizer: Any, model: Any, used: Sequence[int], ends: tuple[int, ...]) -> int:
    """Returns a padding id that differs from every end id, and makes it the padding id of the tokenizer and of the model.

    This is the tokenizer's own padding id if it differs from every end id; else the id of a special token that is not
    `used`; else a new id. For a new id the embedding grows by a row (the mean of all rows) unless it has an unused row.
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
    """Sets the side on which transformers itself pads: the left for a policy, because of `generate`, and the right for a
    reward model.

    The initial arguments of the tokenizer are set too, since transformers saves these.
    """
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side


def special_ids(tokenizer: Any) -> set[int]:
    """Returns the ids of all special tokens, added special tokens included."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _unused_special(tokenizer: Any, used: set[int]) -> str | None:
    """Returns the special token whose name suits padding best, among the tokens that are not used."""
    unused = [tokenizer.convert_ids_to_tokens(index) for index in sorted(special_ids(tokenizer) - used)]
    return next((name for rule in PADDING_NAMES for name in unused if re.search(rule, name.lower())), None)


def _enlarge_embeddings(model: Any, rows: int) -> None:
    """Enlarges the embeddings to `rows` rows; each new row is the mean of the old rows."""
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
