"""Converts dialogues to token ids, and token ids to text, with a model's chat template and a `ChatForm`.

The chat template renders the prompt. The `ChatForm` describes how an answer is appended to the prompt. Prompt and
answer are encoded separately, so that a prompt's ids do not depend on its answer. The concatenated ids must equal the
ids of the whole dialogue as the template renders it. `models.template` finds a form with this property. Only the
template can write the tokens that mark turns. If a text contains the name of such a token, the name is encoded as
ordinary text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers.utils.chat_template_utils import mark_control_tokens

from preflab.errors import UserError
from preflab.models.pinned_date import pin_date
from preflab.types import Turn

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}"
    "{{ '\\n\\nAssistant: ' if m.role == 'assistant' else '\\n\\nHuman: ' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)


SHORT_PROMPT = 1000
"""The largest length, in characters, of a prompt whose token ids are cached."""


@dataclass(frozen=True)
class ChatForm:
    """Describes what a chat template writes before and after an answer.

    header: the text that the template writes between its generation prompt and the answer, such as the name of a
        channel or an empty block of reasoning.
    prefix: the last characters before an answer, if the tokenizer merges them with the answer. An example is the space
        after "Assistant:". The answer's ids include the prefix.
    suffix: the text between the answer and its end token. The answer's ids include the suffix.
    anchor: ordinary text that is put before an answer's text for encoding, and whose ids are removed afterwards. Some
        tokenizers encode the beginning of a text differently from the rest. With an anchor, the answer's text is not
        at the beginning.
    lead: ordinary text whose ids are put before an answer's ids for decoding. The text is removed afterwards.
    closing: the ids that end an answer. None means the model's first end id. A reward model may need other ids.
    control: the tokens that only the template may write.
    parts: whether the content of a turn is a list of parts, as the templates of vision-language models require.
    date: the date (ISO) for a template that writes the date. '' for a template that does not write the date.
    """

    header: str = ""
    prefix: str = ""
    suffix: str = ""
    anchor: str = ""
    lead: str = ""
    closing: tuple[int, ...] | None = None
    control: tuple[str, ...] = ()
    parts: bool = False
    date: str = ""


def render(tokenizer: Any, form: ChatForm, turns: Sequence[Turn], *, ask: bool) -> str:
    """Returns the text of a dialogue as the chat template renders it. `ask`: whether to add the generation prompt. The
    template can raise any exception."""
    messages = [
        {"role": turn.role, "content": [{"type": "text", "text": turn.content}] if form.parts else turn.content}
        for turn in turns
    ]
    template = pin_date(tokenizer.get_chat_template(), form.date) if form.date else None
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)


def encode_prompt(tokenizer: Any, form: ChatForm, turns: Sequence[Turn]) -> list[int]:
    """Returns the ids of a prompt up to the beginning of the answer. They include a BOS token if the template writes a
    BOS token. Raises the exceptions of `render_prompt`. The ids of short prompts are cached, because training and
    evaluation encode the same prompts many times."""
    if sum(len(turn.content) for turn in turns) <= SHORT_PROMPT:
        return list(_encode_and_keep(tokenizer, form, tuple(turns)))
    return list(_encode_prompt(tokenizer, form, tuple(turns)))


def _encode_prompt(tokenizer: Any, form: ChatForm, turns: tuple[Turn, ...]) -> tuple[int, ...]:
    text = render_prompt(tokenizer, form, turns).removesuffix(form.prefix)
    marked = any(mark_control(form, turn.content) != turn.content for turn in turns)
    return tuple(encode_text(tokenizer, text, marked=marked))


_encode_and_keep = lru_cache(maxsize=8192)(_encode_prompt)


def render_prompt(tokenizer: Any, form: ChatForm, turns: Sequence[Turn]) -> str:
    """Returns the text of a prompt up to the beginning of the answer. The names of control tokens in the turns are
    marked (see `mark_control`).

    Raises `UserError` if this text does not contain the content of every user turn and of the system turn. The template
    itself can raise any exception.
    """
    safe = [Turn(turn.role, mark_control(form, turn.content)) for turn in turns]
    text = render(tokenizer, form, safe, ask=True) + form.header
    for turn in safe:
        if turn.role != "assistant" and turn.content.strip() not in text:
            raise UserError(
                f"the template leaves out the text of the {turn.role} turn. Put this text into another turn."
            )
    return text


def encode_answer(tokenizer: Any, form: ChatForm, text: str, *, ended: bool) -> list[int]:
    """Returns the ids of an answer's text, without the ids that end the answer. `ended`: True if the answer is
    complete, False if it is truncated."""
    if not text:
        return []
    safe = mark_control(form, text)
    whole = form.prefix + safe + (form.suffix if ended else "")
    ids = encode_text(tokenizer, form.anchor + whole, marked=safe != text)
    anchor = encode_text(tokenizer, form.anchor) if form.anchor else []
    if ids[: len(anchor)] != anchor:  # the tokenizer merges the anchor with this text
        return encode_text(tokenizer, whole, marked=safe != text)
    return ids[len(anchor) :]


def decode_answer(tokenizer: Any, form: ChatForm, ids: Sequence[int], *, ended: bool) -> str:
    """Returns the text of an answer. `ids`: the ids of the answer, without an end token. `ended`: True if the answer is
    complete, False if it is truncated."""
    lead = encode_text(tokenizer, form.lead) if form.lead else []
    text = tokenizer.decode([*lead, *ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    text = text.removeprefix(form.lead).removeprefix(form.prefix)
    return text.removesuffix(form.suffix) if ended else text


def encode_text(tokenizer: Any, text: str, *, marked: bool = False) -> list[int]:
    """Returns the ids of a text, without a BOS token. `marked`: whether `mark_control` marked names of control tokens
    in the text."""
    settings = {"sanitize_control_tokens": True} if marked else {}
    return list(tokenizer(text, add_special_tokens=False, **settings).input_ids)


def mark_control(form: ChatForm, text: str) -> str:
    """Returns the text with a mark in each name of a control token. A marked name is encoded as ordinary text."""
    control = control_pattern(form.control)
    return mark_control_tokens(text, control) if control.search(text) else text


@lru_cache
def control_pattern(control: tuple[str, ...]) -> re.Pattern[str]:
    """Returns a regular expression that matches any of the control tokens. Longer tokens are tried first."""
    return re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")


@lru_cache(maxsize=8)
def digest_vocabulary(tokenizer: Any) -> str:
    """Returns a hash of the tokenizer's vocabulary. If the hashes of two tokenizers are equal, every id stands for the
    same token in both tokenizers."""
    return hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()[:16]
