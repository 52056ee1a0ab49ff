"""Finds the `ChatForm` of a tokenizer's chat template. When a model is loaded, the template renders short test
dialogues.

Prompt and answer are encoded separately. Their concatenated ids must equal the ids of the whole dialogue as the
template renders it. `read_form` tries each possible form and compares the ids. If no form gives equal ids, `read_form`
refuses the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product, takewhile
from typing import Any, NamedTuple

from preflab.errors import UserError
from preflab.models.chat import (
    PLAIN_TEMPLATE,
    ChatForm,
    decode_answer,
    encode_answer,
    encode_prompt,
    encode_text,
    render,
)
from preflab.models.hub import call_in_time, first_line
from preflab.models.pinned_date import CLOCK
from preflab.models.trial import try_call
from preflab.types import Turn

QUESTION, ANSWER = Turn("user", "Is it so?"), Turn("assistant", "yes")
SECOND, REPLY = Turn("user", "And that?"), Turn("assistant", "No, it is not.")
TEXTS = ("yes", " yes", "    yes", "yes  yes ")
"""Test texts. Encoding and then decoding must restore each of them exactly."""
PATIENCE = 10.0  # the time limit, in seconds, for rendering all test dialogues
MEMORY = 256  # the memory limit, in megabytes, for rendering the test dialogues
LONGEST = 1_000_000
"""The largest allowed number of characters in a rendered test dialogue."""


class Probe(NamedTuple):
    """Parts of a rendered test dialogue. `question`: the rendering of the dialogue without its last answer, but with
    the generation prompt. `before`: the text before the last answer in the rendering of the whole dialogue. `behind`:
    the text after the last answer in this rendering."""

    question: str
    before: str
    behind: str


class TemplateReading(NamedTuple):
    """The result of `read_form`. `form`: the chat form. `ends`: the ids with which the template ends answers. The first
    id ends the last answer of a dialogue. If the template writes no end token after the last answer, the first id ends
    an earlier answer. `used`: the token ids that occur in a short dialogue."""

    form: ChatForm
    ends: tuple[int, ...]
    used: tuple[int, ...]


def ensure_template(tokenizer: Any, chat_template: str = "") -> None:
    """Sets a chat template if the tokenizer does not have one. This template is later saved with the tokenizer.
    `chat_template`: the template to set; '' for a plain template."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = chat_template or PLAIN_TEMPLATE


def read_form(tokenizer: Any, *, rows: int, date: str, where: str) -> TemplateReading:
    """Finds the chat form of the tokenizer's chat template. `rows`: the number of rows of the model's embedding.
    `date`: the date (ISO) for a template that writes a date. `where`: the name of the model in error messages.

    Raises `UserError` if rendering takes too much time or memory, if the template leaves out the question or the
    answer, or if no form gives the same ids as the template's rendering of the whole dialogue.
    """
    excess = try_call(lambda: _render_all(tokenizer, _dated_form(tokenizer, date)), seconds=PATIENCE, megabytes=MEMORY)
    if excess:
        raise _not_readable(where, excess)
    readings: list[TemplateReading] = []
    error = call_in_time(lambda: readings.append(_read_form(tokenizer, rows, date)), PATIENCE)
    if error is not None:
        what = (
            f"it takes more than {PATIENCE:g} s" if isinstance(error, TimeoutError) else first_line(error).rstrip(".")
        )
        raise _not_readable(where, what) from error
    return readings[0]


def find_closing(tokenizer: Any, form: ChatForm) -> tuple[int, ...]:
    """Returns the ids that the template writes after the text of the last answer in a dialogue."""
    whole = encode_text(tokenizer, render(tokenizer, form, [QUESTION, ANSWER], ask=False))
    before = encode_prompt(tokenizer, form, [QUESTION]) + encode_answer(tokenizer, form, ANSWER.content, ended=True)
    return tuple(whole[len(before) :])


def _not_readable(where: str, what: str) -> UserError:
    return UserError(
        f"{where}: preflab cannot encode prompts and answers as the model's chat template writes them: {what}. "
        "Set another `chat_template` in its tokenizer_config.json (or its chat_template.jinja)."
    )


def _dated_form(tokenizer: Any, date: str) -> ChatForm:
    return ChatForm(date=date if CLOCK in tokenizer.get_chat_template() else "")


def _render_all(tokenizer: Any, form: ChatForm) -> None:
    """Renders every test dialogue twice: with the content of each turn as a string, and as a list of parts. Raises
    `MemoryError` if there is not enough memory."""
    dialogues = ([QUESTION], [QUESTION, ANSWER], [QUESTION, ANSWER, SECOND], [QUESTION, ANSWER, SECOND, REPLY])
    for parts, turns in product((False, True), dialogues):
        try:
            render(tokenizer, replace(form, parts=parts), turns, ask=turns[-1].role == "user")
        except MemoryError:
            raise
        except Exception:  # a template may raise any exception to refuse a dialogue
            continue


def _read_form(tokenizer: Any, rows: int, date: str) -> TemplateReading:
    form = _dated_form(tokenizer, date)
    form = replace(form, parts=_needs_parts(tokenizer, form))
    probe = _probe(tokenizer, form, [QUESTION, ANSWER])
    if not probe.before.startswith(probe.question):
        raise UserError(
            f"its generation prompt ends with {probe.question[-40:]!r}, but the text before an answer in a dialogue ends "
            f"with {probe.before[-40:]!r}"
        )
    end = _first_added(tokenizer, probe.behind)
    form = replace(form, control=_control_tokens(tokenizer, form, probe, end, rows))
    for tried in _possible_forms(tokenizer, form, probe, end):
        if _agrees(tokenizer, tried, end):
            used = encode_text(tokenizer, render(tokenizer, form, [QUESTION, ANSWER], ask=False))
            return TemplateReading(tried, _end_ids(tokenizer, tried, end), tuple(used))
    raise UserError("the ids of prompt and answer, encoded separately, differ from the ids of the whole dialogue")


def _needs_parts(tokenizer: Any, form: ChatForm) -> bool:
    """Checks whether the content of a turn must be a list of parts. This is necessary if the template refuses or leaves
    out content that is a string. Raises `UserError` if the template accepts neither a string nor a list."""
    trouble = "it leaves out the question or the answer"
    for parts in (False, True):
        try:
            text = render(tokenizer, replace(form, parts=parts), [QUESTION, ANSWER], ask=False)
        except Exception as error:  # a template can raise any exception
            trouble = first_line(error) if not parts else trouble
            continue
        if len(text) > LONGEST:
            raise UserError(f"it writes {len(text)} characters for a short test dialogue")
        if QUESTION.content in text and ANSWER.content in text:
            return parts
    raise UserError(trouble)


def _probe(tokenizer: Any, form: ChatForm, turns: Sequence[Turn]) -> Probe:
    """Renders a test dialogue and splits the rendering into the parts of a `Probe`. The last turn must be an answer."""
    whole = render(tokenizer, form, turns, ask=False)
    before, _, behind = whole.rpartition(turns[-1].content)
    return Probe(render(tokenizer, form, turns[:-1], ask=True), before, behind)


def _possible_forms(tokenizer: Any, form: ChatForm, probe: Probe, end: str) -> Iterator[ChatForm]:
    """Yields all forms to try, the simplest form first. The forms differ in the fields `header`, `prefix`, `suffix`,
    `anchor` and `lead` (see `ChatForm`)."""
    header = probe.before[len(probe.question) :]
    blank = header[len(header.rstrip()) :]
    joints = [("", ""), (header, blank), (header, "")] if header == blank else [(header, ""), (header, blank)]
    joints.append((header, _joined_end(tokenizer, probe.before)))
    suffix = probe.behind.partition(end)[0] if end else ""
    for anchor, lead, kept, (own, prefix) in product(("", "\n"), ("", "a"), dict.fromkeys((suffix, "")), joints):
        yield replace(form, header=own, prefix=prefix, suffix=kept, anchor=anchor, lead=lead)


def _joined_end(tokenizer: Any, before: str) -> str:
    """Returns the last characters of `before` that the tokenizer merges with the beginning of an answer. Returns '' if
    the tokenizer merges nothing."""
    if not tokenizer.is_fast:
        return ""
    alone = tokenizer(before, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(alone.input_ids, encode_text(tokenizer, before + ANSWER.content), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return before[alone.offset_mapping[same - 1][1] :] if same else ""


def _agrees(tokenizer: Any, form: ChatForm, end: str) -> bool:
    """Checks whether a form fits the template. If prompt and answer are encoded separately, their ids must equal the
    ids of the whole rendered dialogue, including the end token. Decoding the ids of an answer must restore the answer's
    text."""
    closing = [tokenizer.convert_tokens_to_ids(end)] if end else []
    for turns in ([QUESTION, ANSWER], [QUESTION, ANSWER, SECOND, REPLY]):
        try:
            whole = encode_text(tokenizer, render(tokenizer, form, turns, ask=False))
            prompt = encode_prompt(tokenizer, form, turns[:-1])
        except Exception:  # a template may refuse dialogues with several questions
            if len(turns) > 2:
                continue
            raise
        ids = [*prompt, *encode_answer(tokenizer, form, turns[-1].content, ended=bool(end)), *closing]
        if whole[: len(ids)] != ids:
            return False
    return all(
        decode_answer(tokenizer, form, encode_answer(tokenizer, form, text, ended=True), ended=True) == text
        for text in TEXTS
    )


def _first_added(tokenizer: Any, text: str) -> str:
    """Returns the added token of the tokenizer, special or ordinary, that occurs first in a text. Returns '' if the
    text contains no added token."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.content.isspace()]
    pattern = "|".join(map(re.escape, sorted(filter(None, added), key=len, reverse=True)))
    match = re.search(pattern, text) if pattern else None
    return match.group() if match else ""


def _control_tokens(tokenizer: Any, form: ChatForm, probe: Probe, end: str, rows: int) -> tuple[str, ...]:
    """Returns the tokens that only the template may write. These are all special tokens, the ordinary added tokens that
    the template writes around turns, and the added tokens without a row in the embedding."""
    added = tokenizer.added_tokens_decoder
    written = {*encode_text(tokenizer, probe.question), *tokenizer.convert_tokens_to_ids([end] if end else [])}
    control = [
        token.content
        for index, token in added.items()
        if token.special or index >= rows or (index in written and not token.content.isspace())
    ]
    return tuple(filter(None, control))


def _end_ids(tokenizer: Any, form: ChatForm, end: str) -> tuple[int, ...]:
    """Returns the id that ends the last answer of a dialogue, and the id that ends an earlier answer. If the template
    writes no end token after one of these answers, this id is left out."""
    try:
        text = render(tokenizer, form, [QUESTION, ANSWER, SECOND], ask=False)
    except Exception:  # a template may refuse dialogues with several questions
        text = ""
    opened = text.partition(QUESTION.content)[0]
    _, _, behind = text.rpartition(SECOND.content)[0].rpartition(ANSWER.content)
    earlier = _first_added(tokenizer, behind)
    if not end and earlier and _opens_turn(tokenizer, opened, earlier + behind.partition(earlier)[2]):
        earlier = ""
    return tuple(tokenizer.convert_tokens_to_ids([token for token in dict.fromkeys((end, earlier)) if token]))


def _opens_turn(tokenizer: Any, opened: str, text: str) -> bool:
    """Returns True if a text between an answer and the next question only opens the turn of this question, and does not
    end the answer. `opened`: the text before the first question."""
    return opened.removesuffix(text) in ("", tokenizer.bos_token) and opened.endswith(text)
