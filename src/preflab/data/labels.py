"""Reads labels that call an answer good or bad. Accepts every spelling with a clear meaning, and refuses other
spellings.

Also checks files that name the better of two answers by a number. Refuses such a file if it is not clear whether 0 is
the first answer or a tie.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, cast

from preflab.data.numbers import spell_value
from preflab.data.row import DataRecord
from preflab.errors import UserError

_GOOD_WORDS = (
    "true t yes y good 1 +1 positive pos desirable desired up thumbs-up thumbsup like liked upvote accept accepted "
    "chosen preferred correct right win helpful 👍"
)
_BAD_WORDS = (
    "false f no n bad 0 -1 negative neg undesirable undesired down thumbs-down thumbsdown dislike disliked downvote reject "
    "rejected wrong incorrect lose unhelpful 👎"
)
_GOOD, _BAD = frozenset(_GOOD_WORDS.split()), frozenset(_BAD_WORDS.split())
_NUMBERS_OF_BAD = ("0", "-1")
_ABSENT = ("", "none", "null", "nan")
"""The words that tables and programs write for a missing label."""
_FAULT_FIELDS = ("is_rejected", "is_harmful", "is_unsafe", "is_toxic", "is_bad", "is_wrong")
"""Fields with a label for a fault of the answer. In these fields, true means that the answer is bad."""
LABEL_FIELDS = (
    "label",
    "labels",
    "kto_tag",
    "kto_label",
    "desirable",
    "is_desirable",
    "thumbs_up",
    "liked",
    "is_good",
    "is_safe",
    "is_correct",
    "correct",
    "is_chosen",
    "is_preferred",
    "is_accepted",
    "is_helpful",
    *_FAULT_FIELDS,
)
"""Names of the fields that may contain a label."""


class FileLabels:
    """Reads all labels of one file, because the meaning of the label 0 depends on the other labels. The label 0 means
    bad in a file with 0 and 1. If the file also contains -1, the meaning of 0 is not clear. The class also stores the
    file's choices between two answers, because the meaning of the choice 0 depends on the other choices. The choice 0
    means a tie in a file that also contains the choice 2. In any other file, 0 may mean the first answer."""

    def __init__(self) -> None:
        self._numbers_of_bad: dict[str, str] = {}
        self._first_places: dict[str, str] = {}

    def add_choice(self, choice: str, where: str) -> None:
        """Stores the place (`where`) of a choice between two answers, if the choice is the first `0` or the first `2`
        of the file."""
        if choice in ("0", "2"):
            self._first_places.setdefault(choice, where)

    def check_choices(self) -> None:
        """Raises `LabelError` if the choices between two answers contain a 0 but no 2. Call this method after the last
        record."""
        if "0" in self._first_places and "2" not in self._first_places:
            raise LabelError(
                f"{self._first_places['0']} is 0, and no record that was read contains a 2: it is not clear whether 0 is a tie "
                "or the first answer. Write 1 for the first answer, 2 for the second answer, and `tie` for a tie."
            )

    def rate(self, record: DataRecord, where: str) -> bool | None:
        """Returns True if the labels of a record call its answer good, False if they call it bad, and None if there is
        no label. Raises `LabelError` if two labels contradict each other, or if the meaning of a label is not clear."""
        fields = [field for field in LABEL_FIELDS if field in record]
        ratings = {
            self._read(field, record[field], f"{where}: `{field}`") != (field in _FAULT_FIELDS): field
            for field in fields
        }
        if len(ratings) > 1:
            raise LabelError(
                f"{where}: `{ratings[True]}` calls the answer good, but `{ratings[False]}` calls the answer bad. Ignore one "
                f"field, for example by `fields: {{{ratings[True]}: null}}`."
            )
        return next(iter(ratings), None)

    def _read(self, field: str, value: Any, where: str) -> bool:
        """Returns True if the label is a word for good, and False if it is a word for bad. Raises `LabelError` for any
        other label."""
        text = _spell(value)
        if text in _GOOD:
            return True
        if text not in _BAD:
            raise LabelError(
                f"{where}: the label {json.dumps(value, default=str, ensure_ascii=False)[:60]} says neither good nor bad. "
                f"Write true or false, or ignore the field: `fields: {{{field}: null}}`."
            )
        if text in _NUMBERS_OF_BAD:
            number = self._numbers_of_bad.setdefault(field, text)
            if number != text:
                raise LabelError(
                    f"{where}: the label is {text}, and an earlier label is {number}: it is not clear "
                    "which of these two labels means bad. Write true or false."
                )
        return False


def rate_message(value: Any, where: str) -> bool | None:
    """Returns True if the labels inside of an answer's message call the answer good, False if they call it bad, and
    None if there is no label. Only true and false count as labels, because the meaning of a number or a word in a
    message is not known. `value`: the message, or a dialogue whose last message is the answer."""
    messages = cast(list[Any], value) if isinstance(value, list) else [value]
    message = cast(DataRecord, messages[-1]) if messages and isinstance(messages[-1], dict) else {}
    stated = {
        name: held != (name.casefold() in _FAULT_FIELDS)
        for name, held in message.items()
        if name.casefold() in LABEL_FIELDS and isinstance(held, bool)
    }
    if len(set(stated.values())) > 1:
        raise LabelError(
            f"{where}: the labels of the last message contradict each other: {', '.join(stated)}. Remove one label."
        )
    return next(iter(stated.values()), None)


class LabelError(UserError):
    """Raised for a label or a choice whose meaning is not clear. One such label or choice makes preflab refuse the
    whole file."""


def tidy_labels(record: DataRecord, taken: Collection[str]) -> dict[str, Any]:
    """Returns the record with the names of its label fields in lower case. Label fields that contain a word for a
    missing label are removed. A name is not changed if its lower-case form is the name of another field or is in
    `taken`. `taken`: names of fields that the user's setting `fields` already uses."""
    tidy: dict[str, Any] = {}
    for name, value in record.items():
        lower = name.casefold()
        if lower not in LABEL_FIELDS:
            tidy[name] = value
        elif _spell(value) not in _ABSENT:
            tidy[name if lower in record or lower in tidy or lower in taken else lower] = value
    return tidy


def _spell(value: Any) -> str:
    """Returns a label in lower case. The spellings "thumbs up", "thumbs_up" and "thumbs-up" give the same result."""
    return spell_value(value).replace("_", "-").replace("thumbs ", "thumbs-")
