"""Reads dialogues in HH-RLHF's format. In this format, a dialogue is one string."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from preflab.data.row import NOT_ASKED, PROMPTS_DIFFER, USER_LAST, Turns, UselessRecordError
from preflab.errors import UserError
from preflab.types import Completion, Turn

_BLANK = r"\r?\n\r?\n"
_MARKER = re.compile(rf"(?:^|{_BLANK})(Human|Assistant):")
_DIALOGUE = re.compile(rf"({_BLANK})?Human:.*{_BLANK}Assistant:", re.DOTALL)


def is_dialogue(value: Any) -> bool:
    """Checks whether the value is a string that contains a dialogue in HH-RLHF's format."""
    return isinstance(value, str) and _DIALOGUE.match(value) is not None


def begins_dialogue(text: str) -> bool:
    """Checks whether a text is a dialogue in HH-RLHF's format that begins with a blank line. The blank line
    distinguishes a dialogue, as in the data set HH-RLHF, from an answer that quotes a dialogue."""
    match = _DIALOGUE.match(text)
    return match is not None and match[1] is not None


def parse_dialogue(text: str, where: str) -> Turns:
    """Returns the turns of a dialogue in HH-RLHF's format. A turn begins at each `Human:` or `Assistant:` that stands
    at the start of a paragraph."""
    head, *pieces = _MARKER.split(text)
    if head.strip() or not pieces:
        raise UserError(f"{where} is not a dialogue: it must begin with a blank line and `Human:`, not {text[:40]!r}.")
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return tuple(Turn("user" if speaker == "Human" else "assistant", content.strip()) for speaker, content in pairs)


def join_turns(turns: Sequence[Turn]) -> Turns:
    """Joins consecutive turns of the same role into one turn, because chat templates require alternating roles."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Turn(turn.role, f"{joined[-1].content}\n\n{turn.content}".strip())
        else:
            joined.append(turn)
    return tuple(joined)


def read_dialogue_pair(chosen: str, rejected: str, where: str) -> tuple[Turns, Completion, Completion]:
    """Returns the prompt, the better answer and the worse answer from two dialogues in HH-RLHF's format. The last turn
    of each dialogue is the answer. The earlier turns are the prompt and must be the same in both dialogues."""
    better, worse = parse_dialogue(chosen, where), parse_dialogue(rejected, where)
    if "user" in (better[-1].role, worse[-1].role):
        raise UselessRecordError(f"{where}: {USER_LAST}.", USER_LAST)
    if better[:-1] != worse[:-1]:
        raise UselessRecordError(f"{where}: {PROMPTS_DIFFER}.", PROMPTS_DIFFER)
    turns = join_turns(better[:-1])
    if not turns or turns[-1].role != "user":
        raise UselessRecordError(f"{where}: {NOT_ASKED}.", NOT_ASKED)
    return turns, Completion(better[-1].content), Completion(worse[-1].content)
