"""Defines `DialogueRow`, a prompt with its answers. Also defines the error for a well-formed record that a model cannot
learn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflab.errors import UserError
from preflab.types import Completion, Prompt, Turn

DataRecord = Mapping[str, Any]
Turns = tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class DialogueRow:
    """A prompt with its answers. `answer`: the answer to imitate. `rejected`: an answer that is worse than `answer`.
    `margin`: the difference in quality between `answer` and `rejected`. `probability`: the probability that `answer` is
    better. `ranked`: several answers with their scores. If it is not empty, `answer` is the best of these answers, and
    `rejected` is the worst. `rated`: whether the row has a single answer with a label. A desirable answer is then in
    `answer`, and an undesirable answer is in `rejected`. `safe`: whether `answer` is safe, and whether `rejected` is
    safe. A value is None if the record does not contain it."""

    prompt: Prompt
    answer: Completion | None = None
    rejected: Completion | None = None
    margin: float | None = None
    probability: float | None = None
    ranked: tuple[tuple[Completion, float], ...] = ()
    rated: bool = False
    safe: tuple[bool | None, bool | None] = (None, None)


class UselessRecordError(UserError):
    """Raised for a well-formed record that a model cannot learn from. `reason`: the reason, in words that are the same
    for every record with the same fault."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


PROMPTS_DIFFER = "the two prompts differ"
PROMPT_UNCLEAR = "one of its texts is the beginning of the other text, so the end of the prompt is not clear"
USER_LAST = "a dialogue ends in a human turn"
NOT_ASKED = "the prompt does not end in a human turn"
UNTRAINED = "its last turn is marked as excluded from training"
NO_TEXT = "a turn contains something other than text"


def make_prompt_id(turns: Sequence[Turn]) -> str:
    """Returns an id for a prompt. The id is a hash of the roles and texts of its turns, so equal prompts always have
    the same id."""
    content = json.dumps([[turn.role, turn.content] for turn in turns], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
