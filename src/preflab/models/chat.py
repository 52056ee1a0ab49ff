"""From a dialogue to ids and back: the chat template renders the prompt, and a `ChatForm` says how an answer follows it.

The prompt and the answer are encoded apart, so that a prompt's ids do not depend on its answer. The fields of a form make
sure that these ids equal the ids of the template's own rendering of both; `models.template` finds the form and compares the
ids. A token that a template writes around turns comes from the template alone: if a text spells such a token, the spelling
is encoded as text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from transformers.utils.chat_template_utils import mark_control_tokens

from preflab.errors import UserError
from preflab.types import Turn

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}"
    "{{ '\\n\\nAssistant: ' if m.role == 'assistant' else '\\n\\nHuman: ' }}{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)
CLOCK = "strftime_now"
"""The function by which a template reads the date."""
DATE_PARTS = "aAbBdmyYHIMSpjUWwcxXDFTeG"
"""The directives of `strftime` that a pinned date replaces."""


@dataclass(frozen=True)
class ChatForm:
    """How a chat template frames an answer.

    header: what the template writes between its generation prompt and the answer, such as a channel or an empty block of
        reasoning.
    prefix: the end of the text before an answer (a space after "Assistant:") that the tokenizer joins with the answer, so
        that it belongs to the answer's ids.
    suffix: the text between the answer and its end token; it belongs to the answer's ids too.
    anchor, lead: ordinary text put before an answer while it is encoded (`anchor`), and before its ids while they are
        decoded (`lead`), for tokenizers that treat the beginning of a text differently.
    closing: the ids that close an answer; None means the first end id alone. A reward model may read other ids.
    control: the tokens that come from the template alone.
    parts: whether contents are lists of parts, as templates of vision-language models want them.
    date: the day (ISO) given to a template that writes the date; '' if the template writes no date.
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
    """Returns the template's rendering of a dialogue; `ask`: with its generation prompt. A template may raise anything."""
    messages = [
        {"role": turn.role, "content": [{"type": "text", "text": turn.content}] if form.parts else turn.content}
        for turn in turns
    ]
    template = pin_date(tokenizer.get_chat_template(), form.date) if form.date else None
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=ask)


def pin_date(template: str, date: str) -> str:
    """Returns the template with a clock of its own, which always shows one date (ISO)."""
    day = datetime.fromisoformat(date)
    directives = [f"%{flag}{part}" for part in DATE_PARTS for flag in ("-", "")]
    replaced = "".join(f"|replace({name!r}, {day.strftime(name)!r})" for name in directives)
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"


def encode_prompt(tokenizer: Any, form: ChatForm, turns: Sequence[Turn]) -> list[int]:
    """Returns the prompt's ids up to the beginning of the answer, with BOS if the template writes one.

    Raises `UserError` if the template leaves out what the user or the system says; the template itself may raise anything.
    """
    safe = [Turn(turn.role, mark_control(form, turn.content)) for turn in turns]
    text = (render(tokenizer, form, safe, ask=True) + form.header).removesuffix(form.prefix)
    for turn in safe:
        if turn.role != "assistant" and turn.content.strip() not in text:
            raise UserError(f"it leaves out what the {turn.role} says. Put it into another turn.")
    return encode_text(tokenizer, text, marked=safe != list(turns))


def encode_answer(tokenizer: Any, form: ChatForm, text: str, *, ended: bool) -> list[int]:
    """Returns an answer's ids without the ids that close the answer."""
    if not text:
        return []
    safe = mark_control(form, text)
    whole = form.prefix + safe + (form.suffix if ended else "")
    ids = encode_text(tokenizer, form.anchor + whole, marked=safe != text)
    anchor = encode_text(tokenizer, form.anchor) if form.anchor else []
    if ids[: len(anchor)] != anchor:  # the tokenizer joins the anchor to this text
        return encode_text(tokenizer, whole, marked=safe != text)
    return ids[len(anchor) :]


def decode_answer(tokenizer: Any, form: ChatForm, ids: Sequence[int], *, ended: bool) -> str:
    """Returns the text of an answer's ids, which hold no end token."""
    lead = encode_text(tokenizer, form.lead) if form.lead else []
    text = tokenizer.decode([*lead, *ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    text = text.removeprefix(form.lead).removeprefix(form.prefix)
    return text.removesuffix(form.suffix) if ended else text


def encode_text(tokenizer: Any, text: str, *, marked: bool = False) -> list[int]:
    """Returns the ids of a text without BOS. `marked`: `mark_control` has marked what is only text in it and not a token."""
    settings = {"sanitize_control_tokens": True} if marked else {}
    return list(tokenizer(text, add_special_tokens=False, **settings).input_ids)


def mark_control(form: ChatForm, text: str) -> str:
    """Returns the text in which each spelling of a control token is marked as text."""
    control = control_pattern(form.control)
    return mark_control_tokens(text, control) if control.search(text) else text


@lru_cache
def control_pattern(control: tuple[str, ...]) -> re.Pattern[str]:
    """Returns a pattern that matches these tokens, longer tokens first."""
    return re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")


@lru_cache(maxsize=8)
def digest_vocabulary(tokenizer: Any) -> str:
    """Returns a digest of the tokens and their ids: ids mean the same to two tokenizers whose digests are equal."""
    return hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()[:16]
