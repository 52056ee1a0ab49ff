"""Reads the turns of a prompt from text or messages. Also reads an answer together with the turns before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from preflab.data.hh_strings import begins_dialogue, is_dialogue, join_turns, parse_dialogue
from preflab.data.lines import check_text
from preflab.data.messages import is_untrained, read_message
from preflab.data.row import NOT_ASKED, PROMPTS_DIFFER, UNTRAINED, Turns, UselessRecordError
from preflab.data.written import parse_messages
from preflab.errors import UserError
from preflab.types import Completion, Role, Turn


def read_turns(value: Any, role: Role, where: str) -> Turns:
    """Returns the turns in a message or in a list of messages. The messages may be written as text. Any other text
    becomes a single turn of `role`. Raises `UserError` for any other value."""
    if isinstance(value, str):
        value = parse_messages(value, where) or value
    if isinstance(value, str):
        return (Turn(role, check_text(value, where)),)
    if isinstance(value, dict):
        return (read_message(value, where),)
    messages = cast(list[Any], value) if isinstance(value, list) else [check_text(value, where)]
    turns = tuple(read_message(message, f"{where}[{number}]") for number, message in enumerate(messages))
    if not turns:
        raise UserError(f"{where} is an empty list.")
    if turns[-1].role == "assistant" and is_untrained(messages[-1]):
        raise UselessRecordError(f"{where}: {UNTRAINED}.", UNTRAINED)
    return turns


def read_prompt_turns(value: Any, where: str) -> Turns:
    """Returns the turns of a prompt. The prompt is a text, a list of messages, or a string in HH-RLHF's format that
    ends where the answer begins."""
    if not is_dialogue(value):
        return read_turns(value, "user", where)
    turns = parse_dialogue(check_text(value, where), where)
    return join_turns(turns if turns[-1].content else turns[:-1])


def read_answer(value: Any, prompt: Turns, where: str) -> tuple[Turns, Completion]:
    """Returns the turns before an answer, and the answer. `value`: the answer as text, or a dialogue whose last turn is
    the answer. A dialogue is a list of messages or a string in HH-RLHF's format. If `value` contains turns before the
    answer, these turns must agree with `prompt`, and they are returned. If `value` contains only the answer, `prompt`
    is returned. The system turn may be missing either in `value` or in `prompt`."""
    turns = _split_answer(value, prompt, where)
    before, last = turns[:-1], turns[-1]
    if last.role != "assistant" or (before and not _agrees(before, prompt)):
        raise UselessRecordError(
            f"{where} must be one turn of the assistant. Only the turns of the prompt may come before it.",
            PROMPTS_DIFFER,
        )
    turns_before = (*(get_system(before) or get_system(prompt)), *drop_system(before)) if before else prompt
    return turns_before, Completion(last.content)


def _split_answer(value: Any, prompt: Turns, where: str) -> Turns:
    """Returns the turns in the value of an answer. A text in HH-RLHF's format is a dialogue if it begins with a blank
    line or repeats the prompt. Any other text in this format is an answer that quotes a dialogue, and becomes a single
    turn."""
    if is_dialogue(value):
        *before, last = parse_dialogue(check_text(value, where), where)
        joined = join_turns(before)
        if begins_dialogue(value) or _agrees(joined, prompt):
            return (*joined, last)
    return read_turns(value, "assistant", where)


def _agrees(before: Turns, prompt: Turns) -> bool:
    """Checks whether the turns before an answer begin or end with the turns of the prompt. The system turn may be
    missing in `before` or in `prompt`."""
    turns, question = drop_system(before), drop_system(prompt)
    one, other = get_system(before), get_system(prompt)
    return (not one or not other or one == other) and question in (turns[: len(question)], turns[-len(question) :])


def agree_on_prompt(prompts: Sequence[Turns], where: str) -> Turns:
    """Returns the turns before several answers to the same prompt. `prompts`: for each answer, the turns before it.
    These turns must be equal for all answers. A leading system turn is optional: it may be missing for some answers."""
    longest = max(prompts, key=len)
    if any(turns not in (longest, drop_system(longest)) for turns in prompts):
        raise UselessRecordError(
            f"{where}: the answers reply to different prompts. All answers must come after the same turns.",
            PROMPTS_DIFFER,
        )
    return longest


def get_system(turns: Turns) -> Turns:
    """Returns the leading system turn as a tuple. The tuple is empty if the first turn is not a system turn."""
    return turns[:1] if turns and turns[0].role == "system" else ()


def drop_system(turns: Turns) -> Turns:
    """Returns the turns without the leading system turn, if there is one."""
    return turns[len(get_system(turns)) :]


def require_question(turns: Turns, where: str) -> Turns:
    """Returns the turns unchanged. Raises `UselessRecordError` if there are no turns, or if the last turn is not the
    user's."""
    if not turns or turns[-1].role != "user":
        raise UselessRecordError(
            f"{where}: the prompt must end in a turn of the user. The answer replies to this turn.", NOT_ASKED
        )
    return turns
