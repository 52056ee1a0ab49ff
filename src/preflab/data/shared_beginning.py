"""Reads pairs of texts without a prompt, in the form that TRL calls an implicit prompt: the words with which both texts
begin are the prompt."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import Any

from preflab.data.hh_strings import is_dialogue
from preflab.data.prompts import COMMON_FIELDS, explain_unknown, find_question
from preflab.data.row import PROMPT_UNCLEAR, DataRecord, UselessRecordError
from preflab.data.written import begins_like_messages, holds_messages, is_message
from preflab.errors import UserError

_SPEAKER = re.compile(
    r"^[ \t#*]*(human|user|assistant|system|prompter|bot|ai|gpt|model)\*{0,2}[ \t]*:|<\|\w+\|>|\[/?INST\]|<start_of_turn>",
    re.IGNORECASE | re.MULTILINE,
)
"""Matches a mark at which a turn of a dialogue begins or ends, such as `Human:` or `[INST]`."""
_TAG = re.compile(r"[\w./:@+-]*", re.ASCII)
"""Matches a text of a single word, which describes the record and is not a question."""
_METADATA_NAMES = (
    "source data_source dataset dataset_name subset split category subcategory task task_type topic domain type tag tags "
    "language lang license url date time timestamp created_at updated_at name author annotator worker "
    "rationale reason explanation feedback critique model model_name chosen_model rejected_model model_chosen "
    "model_rejected chosen_policy rejected_policy"
)
_METADATA = frozenset(_METADATA_NAMES.split())
"""Fields whose texts are about the record, and are not its question."""


def holds_texts_alone(record: DataRecord) -> bool:
    """Checks whether a record has no question, and has two answers that are texts, not dialogues."""
    values: list[Any] = [record["chosen"], record["rejected"]]
    plain = all(isinstance(text, str) and not (is_dialogue(text) or begins_like_messages(text)) for text in values)
    return plain and find_question(record) is None


def part_texts(better: str, worse: str, record: DataRecord, where: str) -> tuple[str, str, str]:
    """Returns the words with which both texts begin, and the rest of each text. Raises `UserError` if there are no such
    words, if another field may be the question, or if the texts are dialogues in a form that is not read. Raises
    `UselessRecordError` if one text consists only of the shared words, because nothing then says where its answer
    begins."""
    other = _find_possible_question(record)
    if other is not None:
        raise UserError(
            f"{where}: no known field holds the question, but `{other}` may be it. If it is, name it: "
            f"`fields: {{prompt: {other}}}`. If it is not, ignore it: `fields: {{{other}: null}}`. The words with which "
            "`chosen` and `rejected` both begin are then the prompt."
        )
    shared = _find_shared_words(better, worse)
    if not shared.strip():
        raise UserError(explain_unknown(record, where))
    mark = _SPEAKER.search(shared)
    if mark is not None:
        raise UserError(
            f"{where}: `chosen` and `rejected` look like dialogues with unknown turn marks ({mark[0].strip()!r}). Write "
            "lists of messages instead, so that it is clear who says what."
        )
    answers = better[len(shared) :].strip(), worse[len(shared) :].strip()
    if not all(answers):
        raise UselessRecordError(f"{where}: {PROMPT_UNCLEAR}.", PROMPT_UNCLEAR)
    return shared.strip(), *answers


def _find_possible_question(record: DataRecord) -> str | None:
    """Returns the first field that may be the question: a field that is not read, does not describe the record, and
    holds messages or a text of several words. Returns None if there is no such field."""
    known = COMMON_FIELDS | _METADATA | {"chosen", "rejected"}
    return next((name for name, value in record.items() if name not in known and _may_ask(value)), None)


def _may_ask(value: Any) -> bool:
    if isinstance(value, str):
        return _TAG.fullmatch(value.strip()) is None
    return is_message(value) or holds_messages(value)


def _find_shared_words(one: str, other: str) -> str:
    """Returns the longest beginning that both texts share, up to the end of a word in both texts."""
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    shared = one[:length]
    following = [text[length : length + 1] for text in (one, other)]
    if all(not letter or letter.isspace() for letter in following):
        return shared
    return shared[: length - len(re.split(r"\s", shared)[-1])]
