"""What a tokenizer from elsewhere is asked before training: which tokens end a turn, what pads, where answers begin."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import TemplateError

from preflab.errors import UserError
from preflab.models.lm import PLAIN_TEMPLATE

_QUESTION, _ANSWER = "Is it so?", "yes"
PADDING_NAMES = (r"pad", r"unk", r"reserved|unused|extra", r"sep|empty", r"fim|repo|file|mask")


def ensure_template(tokenizer: Any) -> None:
    """A base model without a chat template gets the plain one, which is saved with the policy."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE


def end_ids(tokenizer: Any, model: Any, *, where: str) -> tuple[int, ...]:
    """Every id that ends a turn; first the one that the template writes after an answer, else the end of sequence.

    The others: the generation settings' list and the tokenizer's own. Raises `UserError` when there is none.
    """
    found: list[int] = []
    text = rendered(tokenizer, answered=True)
    if _ANSWER in text:
        special = special_ids(tokenizer)
        tail = tokenizer(text[text.rindex(_ANSWER) + len(_ANSWER) :], add_special_tokens=False).input_ids
        found += [token for token in tail if token in special][:1]
    generation = getattr(model, "generation_config", None)
    for source in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None), model.config.eos_token_id):
        found += [] if source is None else source if isinstance(source, list) else [source]
    if not found:
        raise UserError(
            f"The tokenizer of {where} has no end token, so that no answer could ever end. Set `eos_token` in its "
            "tokenizer_config.json to the token that ends a turn."
        )
    return tuple(dict.fromkeys(found))


def pad_id(tokenizer: Any, model: Any, ends: tuple[int, ...]) -> int:
    """A padding id that differs from every end id; becomes the tokenizer's and the model's.

    The tokenizer's own if it will do; else an idle special token; else a new one, for which the embedding grows by a
    row (the mean of all rows) unless it has one to spare.
    """
    own = tokenizer.pad_token_id
    if own is None or own in ends:
        idle = _idle_special(tokenizer, ends)
        tokenizer.add_special_tokens({"pad_token": "<pad>" if idle is None else tokenizer.convert_ids_to_tokens(idle)})
        own = int(tokenizer.pad_token_id)
        if own >= model.get_input_embeddings().weight.shape[0]:
            _grow(model, own + 1)
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = own
    return own


def pad_on(tokenizer: Any, side: str) -> None:
    """Where plain transformers will pad: a policy on the left, for `generate`, a reward model on the right.

    What is saved are the tokenizer's initial arguments, hence both.
    """
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side


def answer_prefix(tokenizer: Any) -> str:
    """The white space that the template writes between the prompt's end and the answer's text, if any.

    Such that the ids of prompt and answer, encoded apart, are those of the whole: a tokenizer that puts a space before
    every text needs none from us.
    """
    prompt, whole = rendered(tokenizer, answered=False), rendered(tokenizer, answered=True)
    between = whole[len(prompt) : whole.rfind(_ANSWER)] if whole.startswith(prompt) else ""
    if not between.isspace():
        return ""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    together = ids(prompt + between + _ANSWER)
    return next((prefix for prefix in ("", between) if ids(prompt) + ids(prefix + _ANSWER) == together), between)


def rendered(tokenizer: Any, *, answered: bool) -> str:
    """One short exchange through the chat template, '' where the template refuses it."""
    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
    try:
        return tokenizer.apply_chat_template(
            turns if answered else turns[:1], tokenize=False, add_generation_prompt=not answered
        )
    except (TemplateError, ValueError):
        return ""


def special_ids(tokenizer: Any) -> set[int]:
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _idle_special(tokenizer: Any, ends: tuple[int, ...]) -> int | None:
    """The special token whose name suits padding best and that neither ends, begins nor structures a dialogue."""
    used = {*ends, tokenizer.bos_token_id}
    used.update(tokenizer(rendered(tokenizer, answered=True), add_special_tokens=False).input_ids)
    idle = sorted(special_ids(tokenizer) - used)
    names = [(index, tokenizer.convert_ids_to_tokens(index).lower()) for index in idle]
    return next((index for rule in PADDING_NAMES for index, name in names if re.search(rule, name)), None)


def _grow(model: Any, rows: int) -> None:
    """Embeddings with `rows` rows; new ones are the mean of the old."""
    import torch

    old = model.get_input_embeddings().weight.shape[0]
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is None:  # a sequence classifier has no vocabulary head
                continue
            layer.weight[old:] = layer.weight[:old].mean(0)
            if getattr(layer, "bias", None) is not None:
                layer.bias[old:] = layer.bias[:old].mean()
