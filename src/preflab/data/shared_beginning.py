"""Reads pairs of texts that have no separate prompt. The prompt is the shared beginning of the two texts. TRL calls
this format an implicit prompt."""

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
"""Matches a text that consists of a single word. Such a text is a label of the record and not a question."""
_METADATA_NAMES = (
    "source data_source dataset dataset_name subset split category subcategory task task_type topic domain type tag tags "
    "language lang license url date time timestamp created_at updated_at name author annotator worker "
    "rationale reason explanation feedback critique model model_name chosen_model rejected_model model_chosen "
    "model_rejected chosen_policy rejected_policy"
)
_METADATA = frozenset(_METADATA_NAMES.split())
"""Names of fields that describe the record and do not contain the question."""


def holds_texts_alone(record: DataRecord) -> bool:
    """Returns True if a record has no field for a question, and if `chosen` and `rejected` are plain texts instead of
    dialogues."""
    values: list[Any] = [record["chosen"], record["rejected"]]
    plain = all(isinstance(text, str) and not (is_dialogue(text) or begins_like_messages(text)) for text in values)
    return plain and find_question(record) is None


def part_texts(better: str, worse: str, record: DataRecord, where: str) -> tuple[str, str, str]:
    """Returns the words with which both texts begin, and the remaining part of each text. Raises `UserError` if the
    texts do not begin with the same words, if another field may be the question, or if the texts are dialogues in an
    unknown format. Raises `UselessRecordError` if one text consists only of the shared words, because the start of its
    answer is then unknown."""
    other = _find_possible_question(record)
    if other is not None:
        raise UserError(
            f"{where}: no known field contains the question, but the field `{other}` may contain it. If so, set "
            f"`fields: {{prompt: {other}}}`. If not, set `fields: {{{other}: null}}`. The prompt is then read from the "
            "words with which `chosen` and `rejected` both begin."
        )
    shared = _find_shared_words(better, worse)
    if not shared.strip():
        raise UserError(explain_unknown(record, where))
    mark = _SPEAKER.search(shared)
    if mark is not None:
        raise UserError(
            f"{where}: `chosen` and `rejected` look like dialogues with unknown turn marks ({mark[0].strip()!r}). Write "
            "lists of messages instead, so that the speaker of each text is clear."
        )
    answers = better[len(shared) :].strip(), worse[len(shared) :].strip()
    if not all(answers):
        raise UselessRecordError(f"{where}: {PROMPT_UNCLEAR}.", PROMPT_UNCLEAR)
    return shared.strip(), *answers


def _find_possible_question(record: DataRecord) -> str | None:
    """Returns the name of the first field that may contain the question. Such a field contains messages or a text of
    several words. Fields that are already read and fields that describe the record do not count. Returns None if there
    is no such field."""
    known = COMMON_FIELDS | _METADATA | {"chosen", "rejected"}
    return next((name for name, value in record.items() if name not in known and _may_ask(value)), None)


def _may_ask(value: Any) -> bool:
    if isinstance(value, str):
        return _TAG.fullmatch(value.strip()) is None
    return is_message(value) or holds_messages(value)


def _find_shared_words(one: str, other: str) -> str:
    """Returns the longest common beginning of two texts that ends at the end of a word in both texts."""
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    shared = one[:length]
    following = [text[length : length + 1] for text in (one, other)]
    if all(not letter or letter.isspace() for letter in following):
        return shared
    return shared[: length - len(re.split(r"\s", shared)[-1])]
