"""Finds what a chat template does around an answer, by rendering short dialogues when a model is opened.

The ids of a prompt and an answer that are encoded apart must be the ids of the template's own rendering of both. `read_form`
tries the few ways in which this is possible, compares the ids, and refuses the model if no way works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product, takewhile
from typing import Any, NamedTuple

from preflab.errors import UserError
from preflab.models.chat import (
    CLOCK,
    PLAIN_TEMPLATE,
    ChatForm,
    decode_answer,
    encode_answer,
    encode_prompt,
    encode_text,
    render,
)
from preflab.models.hub import call_in_time, first_line
from preflab.types import Turn

QUESTION, ANSWER = Turn("user", "Is it so?"), Turn("assistant", "yes")
SECOND, REPLY = Turn("user", "And that?"), Turn("assistant", "No, it is not.")
TEXTS = ("yes", " yes", "    yes", "yes  yes ")
"""Answers that must come back from their ids unchanged."""
PATIENCE = 10.0  # seconds that a template may take for the probes
LONGEST = 1_000_000
"""The largest number of characters that a template may write for a probe."""


class Probe(NamedTuple):
    """A template's rendering of a dialogue in three texts: with the generation prompt, before the last answer, and behind
    it."""

    asked: str
    before: str
    behind: str


class TemplateReading(NamedTuple):
    """What was read from a tokenizer's template: its form; the ids with which the template ends an answer, beginning with
    the id that ends the last answer; and the ids of a short dialogue."""

    form: ChatForm
    ends: tuple[int, ...]
    used: tuple[int, ...]


def ensure_template(tokenizer: Any) -> None:
    """Gives the plain chat template to a base model without a chat template; the template is saved with the policy."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE


def read_form(tokenizer: Any, *, rows: int, date: str, where: str) -> TemplateReading:
    """Reads the form of the tokenizer's chat template. `rows`: the number of rows of the model's embedding. `date`: the day
    (ISO) given to a template that writes the date.

    Raises `UserError` if the template does not end, if it leaves out the question or the answer, or if it writes them so
    that the ids of prompt and answer cannot be joined.
    """
    readings: list[TemplateReading] = []
    error = call_in_time(lambda: readings.append(_read_form(tokenizer, rows, date)), PATIENCE)
    if error is not None:
        what = (
            f"it takes more than {PATIENCE:g} s" if isinstance(error, TimeoutError) else first_line(error).rstrip(".")
        )
        raise UserError(
            f"{where}: prompts and answers cannot be written as its chat template writes them: {what}. "
            "Set another `chat_template` in its tokenizer_config.json (or its chat_template.jinja)."
        ) from error
    return readings[0]


def find_closing(tokenizer: Any, form: ChatForm) -> tuple[int, ...]:
    """Returns the ids that the template writes behind the text of a dialogue's last answer."""
    whole = encode_text(tokenizer, render(tokenizer, form, [QUESTION, ANSWER], ask=False))
    before = encode_prompt(tokenizer, form, [QUESTION]) + encode_answer(tokenizer, form, ANSWER.content, ended=True)
    return tuple(whole[len(before) :])


def _read_form(tokenizer: Any, rows: int, date: str) -> TemplateReading:
    form = ChatForm(date=date if CLOCK in tokenizer.get_chat_template() else "")
    form = replace(form, parts=_needs_parts(tokenizer, form))
    probe = _probe(tokenizer, form, [QUESTION, ANSWER])
    if not probe.before.startswith(probe.asked):
        raise UserError(
            f"its generation prompt ends with {probe.asked[-40:]!r}, and an answer that it writes is preceded by "
            f"{probe.before[-40:]!r}"
        )
    end = _first_added(tokenizer, probe.behind)
    form = replace(form, control=_control_tokens(tokenizer, form, probe, end, rows))
    for tried in _possible_forms(tokenizer, form, probe, end):
        if _agrees(tokenizer, tried, end):
            used = encode_text(tokenizer, render(tokenizer, form, [QUESTION, ANSWER], ask=False))
            return TemplateReading(tried, _end_ids(tokenizer, tried, end), tuple(used))
    raise UserError("the ids of prompt and answer, encoded apart, are not those of the whole")


def _needs_parts(tokenizer: Any, form: ChatForm) -> bool:
    """Checks whether contents must be lists of parts, because the template leaves out or refuses contents that are texts."""
    trouble = "it leaves out the question or the answer"
    for parts in (False, True):
        try:
            text = render(tokenizer, replace(form, parts=parts), [QUESTION, ANSWER], ask=False)
        except Exception as error:  # a template may raise anything
            trouble = first_line(error) if not parts else trouble
            continue
        if len(text) > LONGEST:
            raise UserError(f"it writes {len(text)} characters for two words")
        if QUESTION.content in text and ANSWER.content in text:
            return parts
    raise UserError(trouble)


def _probe(tokenizer: Any, form: ChatForm, turns: Sequence[Turn]) -> Probe:
    """Renders a dialogue whose last turn is an answer."""
    whole = render(tokenizer, form, turns, ask=False)
    before, _, behind = whole.rpartition(turns[-1].content)
    return Probe(render(tokenizer, form, turns[:-1], ask=True), before, behind)


def _possible_forms(tokenizer: Any, form: ChatForm, probe: Probe, end: str) -> Iterator[ChatForm]:
    """Lists every way in which prompt and answer might join, the plainest first. The ways differ in which part of the text
    before an answer belongs to the answer's ids, in whether text before the end token is kept, and in what stands before an
    answer while it is encoded and decoded."""
    header = probe.before[len(probe.asked) :]
    blank = header[len(header.rstrip()) :]
    joints = [("", ""), (header, blank), (header, "")] if header == blank else [(header, ""), (header, blank)]
    joints.append((header, _joined_end(tokenizer, probe.before)))
    suffix = probe.behind.partition(end)[0] if end else ""
    for anchor, lead, kept, (own, prefix) in product(("", "\n"), ("", "a"), dict.fromkeys((suffix, "")), joints):
        yield replace(form, header=own, prefix=prefix, suffix=kept, anchor=anchor, lead=lead)


def _joined_end(tokenizer: Any, before: str) -> str:
    """Returns the end of the text before an answer that the tokenizer joins with the answer; '' if it joins nothing."""
    if not tokenizer.is_fast:
        return ""
    alone = tokenizer(before, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(alone.input_ids, encode_text(tokenizer, before + ANSWER.content), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return before[alone.offset_mapping[same - 1][1] :] if same else ""


def _agrees(tokenizer: Any, form: ChatForm, end: str) -> bool:
    """Checks whether the ids of prompt and answer, encoded apart, are the ids of the template's own rendering, its end token
    included, and whether answers come back from their ids."""
    closing = [tokenizer.convert_tokens_to_ids(end)] if end else []
    for turns in ([QUESTION, ANSWER], [QUESTION, ANSWER, SECOND, REPLY]):
        try:
            whole = encode_text(tokenizer, render(tokenizer, form, turns, ask=False))
            prompt = encode_prompt(tokenizer, form, turns[:-1])
        except Exception:  # a template may take one exchange alone
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
    """Returns the first added token, special or ordinary, that a text spells; '' if the text spells no added token."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.content.isspace()]
    pattern = "|".join(map(re.escape, sorted(filter(None, added), key=len, reverse=True)))
    match = re.search(pattern, text) if pattern else None
    return match.group() if match else ""


def _control_tokens(tokenizer: Any, form: ChatForm, probe: Probe, end: str, rows: int) -> tuple[str, ...]:
    """Lists the tokens that come from the template alone: all special tokens, the ordinary tokens that the template writes
    around turns, and the tokens for which the embedding has no row."""
    added = tokenizer.added_tokens_decoder
    written = {*encode_text(tokenizer, probe.asked), *tokenizer.convert_tokens_to_ids([end] if end else [])}
    control = [
        token.content
        for index, token in added.items()
        if token.special or index >= rows or (index in written and not token.content.isspace())
    ]
    return tuple(filter(None, control))


def _end_ids(tokenizer: Any, form: ChatForm, end: str) -> tuple[int, ...]:
    """Returns the id that ends the last answer of a dialogue and the id that ends an earlier answer; no ids if the template
    ends no answer."""
    if not end:
        return ()
    ends = [end]
    try:
        text = render(tokenizer, form, [QUESTION, ANSWER, SECOND], ask=False)
    except Exception:  # a template may take one exchange alone
        text = ""
    _, _, behind = text.rpartition(SECOND.content)[0].rpartition(ANSWER.content)
    ends.append(_first_added(tokenizer, behind))
    return tuple(tokenizer.convert_tokens_to_ids([token for token in dict.fromkeys(ends) if token]))
