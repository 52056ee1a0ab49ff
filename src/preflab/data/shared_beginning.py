"""Reads pairs of texts without a prompt, in the form that TRL calls implicit: the words with which both begin are it."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any

from preflab.data.hh_strings import is_dialogue
from preflab.data.prompts import explain_unknown, find_question
from preflab.data.row import PROMPT_UNCLEAR, DataRecord, UselessRecordError
from preflab.data.written import begins_like_messages
from preflab.errors import UserError

_SPEAKER = re.compile(
    r"^[ \t#*]*(human|user|assistant|system|prompter|bot|ai|gpt|model)\*{0,2}[ \t]*:|<\|\w+\|>|\[/?INST\]|<start_of_turn>",
    re.IGNORECASE | re.MULTILINE,
)
"""Matches what marks the turns of a dialogue."""


def holds_texts_alone(record: DataRecord) -> bool:
    """Checks whether a record has a better and a worse answer that are mere texts, and no question."""
    values: list[Any] = [record["chosen"], record["rejected"]]
    plain = all(isinstance(text, str) and not (is_dialogue(text) or begins_like_messages(text)) for text in values)
    return plain and find_question(record) is None


def part_texts(better: str, worse: str, record: DataRecord, where: str) -> tuple[str, str, str]:
    """Returns the words with which both texts begin, and what is left of each text. Raises `UserError` if there are no such
    words, or if the texts are dialogues in a form that is not read. Raises `UselessRecordError` if one text is the whole
    beginning of the other, because nothing then says where its answer begins."""
    shared = _find_shared_words(better, worse)
    if not shared.strip():
        raise UserError(explain_unknown(record, where))
    mark = _SPEAKER.search(shared)
    if mark is not None:
        raise UserError(
            f"{where}: `chosen` and `rejected` look like dialogues with marks of their own ({mark[0].strip()!r}). Write "
            "lists of messages instead, so that it is clear who says what."
        )
    answers = better[len(shared) :].strip(), worse[len(shared) :].strip()
    if not all(answers):
        raise UselessRecordError(f"{where}: {PROMPT_UNCLEAR}.", PROMPT_UNCLEAR)
    return shared.strip(), *answers


def _find_shared_words(one: str, other: str) -> str:
    """Returns the longest beginning of both texts that ends where a word ends in both."""
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    shared = one[:length]
    following = [text[length : length + 1] for text in (one, other)]
    if all(not letter or letter.isspace() for letter in following):
        return shared
    return shared[: length - len(re.split(r"\s", shared)[-1])]
