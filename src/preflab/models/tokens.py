"""What training needs to know about any tokenizer: the tokens that end a turn, the padding, and where answers begin."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import TemplateError

from preflab.errors import UserError
from preflab.models.lm import PLAIN_TEMPLATE

_QUESTION, _ANSWER = "Is it so?", "yes"
PADDING_NAMES = (r"pad", r"unk", r"reserved|unused|extra", r"sep|empty", r"fim|repo|file|mask")


def ensure_template(tokenizer: Any) -> None:
    """Gives a base model without a chat template the plain one, which is saved with the policy."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE


def end_ids(tokenizer: Any, model: Any, *, where: str) -> tuple[int, ...]:
    """Every id that ends a turn: first the one that the template writes after an answer, if any.

    Then come the tokenizer's own, those of the generation settings and those of the configuration. Raises `UserError` where
    there is none.
    """
    ids: list[int] = []
    text = render_exchange(tokenizer, answered=True)
    if _ANSWER in text:
        special = special_ids(tokenizer)
        tail = tokenizer(text[text.rindex(_ANSWER) + len(_ANSWER) :], add_special_tokens=False).input_ids
        ids += [token for token in tail if token in special][:1]
    generation = getattr(model, "generation_config", None)
    for source in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None), model.config.eos_token_id):
        ids += [] if source is None else source if isinstance(source, list) else [source]
    if not ids:
        raise UserError(
            f"The tokenizer of {where} has no end token, so no answer could end. Set `eos_token` in its "
            "tokenizer_config.json to the token that ends a turn."
        )
    return tuple(dict.fromkeys(ids))


def pad_id(tokenizer: Any, model: Any, ends: tuple[int, ...]) -> int:
    """A padding id that differs from every end id. It becomes the padding id of the tokenizer and of the model.

    It is the tokenizer's own where that differs; else an unused special token; else a new one, for which the embedding
    grows by a row (the mean of all rows) unless it has an unused row.
    """
    own = tokenizer.pad_token_id
    if own is None or own in ends:
        token = _unused_special(tokenizer, ends)
        tokenizer.add_special_tokens({"pad_token": token or "<pad>"})
        own = int(tokenizer.pad_token_id)
        if own >= model.get_input_embeddings().weight.shape[0]:
            _enlarge_embeddings(model, own + 1)
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = own
    return own


def pad_on(tokenizer: Any, side: str) -> None:
    """Sets the side on which transformers itself pads: a policy on the left, for `generate`, a reward model on the right.

    It sets the initial arguments too, since these are what transformers saves.
    """
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side


def answer_prefix(tokenizer: Any) -> str:
    """The white space that must precede the text of an answer, '' where none must.

    The template may write white space between the prompt and the answer. The prefix is chosen so that the ids of prompt and
    answer, encoded apart, equal those of the whole: a tokenizer that itself puts a space before every text needs none.
    """
    prompt, whole = render_exchange(tokenizer, answered=False), render_exchange(tokenizer, answered=True)
    between = whole[len(prompt) : whole.rfind(_ANSWER)] if whole.startswith(prompt) else ""
    if not between.isspace():
        return ""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    together = ids(prompt + between + _ANSWER)
    return next((prefix for prefix in ("", between) if ids(prompt) + ids(prefix + _ANSWER) == together), between)


def render_exchange(tokenizer: Any, *, answered: bool) -> str:
    """A short exchange, with or without its answer, through the chat template; '' where the template refuses it."""
    turns = [{"role": "user", "content": _QUESTION}]
    turns += [{"role": "assistant", "content": _ANSWER}] if answered else []
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=not answered)
    except (TemplateError, ValueError):
        return ""


def special_ids(tokenizer: Any) -> set[int]:
    """The ids of all special tokens, added ones included."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _unused_special(tokenizer: Any, ends: tuple[int, ...]) -> str | None:
    """The special token whose name suits padding best, among those that no dialogue begins with, ends with or holds."""
    used = {*ends, tokenizer.bos_token_id}
    used.update(tokenizer(render_exchange(tokenizer, answered=True), add_special_tokens=False).input_ids)
    unused = [tokenizer.convert_ids_to_tokens(index) for index in sorted(special_ids(tokenizer) - used)]
    return next((name for rule in PADDING_NAMES for name in unused if re.search(rule, name.lower())), None)


def _enlarge_embeddings(model: Any, rows: int) -> None:
    """Enlarges the embeddings to `rows` rows; each new row is the mean of the old ones."""
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
