"""Reads the turns of a prompt from text or messages, and an answer with the turns to which it replies."""

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
    """Reads a message or a list of messages, which may be written as text. Reads any other text as one turn of `role`.
    Raises `UserError` for any other value."""
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
    """Reads the turns of a prompt. The prompt may also be a string in HH-RLHF's form that ends where the answer
    begins."""
    if not is_dialogue(value):
        return read_turns(value, "user", where)
    turns = parse_dialogue(check_text(value, where), where)
    return join_turns(turns if turns[-1].content else turns[:-1])


def read_answer(value: Any, prompt: Turns, where: str) -> tuple[Turns, Completion]:
    """Returns the turns before an answer, and the answer. `value` is the answer as text, or a dialogue whose last turn
    is the answer: a list of messages, or a string in HH-RLHF's form. If turns come before the answer, they must agree
    with `prompt`, and they are returned; otherwise `prompt` is returned. The system turn may be missing either from
    these turns or from `prompt`."""
    turns = _split_answer(value, prompt, where)
    before, last = turns[:-1], turns[-1]
    if last.role != "assistant" or (before and not _agrees(before, prompt)):
        raise UselessRecordError(
            f"{where} must be one turn of the assistant, alone or after the turns of the prompt.", PROMPTS_DIFFER
        )
    turns_before = (*(get_system(before) or get_system(prompt)), *drop_system(before)) if before else prompt
    return turns_before, Completion(last.content)


def _split_answer(value: Any, prompt: Turns, where: str) -> Turns:
    """Returns the turns of an answer. Text in HH-RLHF's form is a dialogue if it begins with a blank line, as HH-RLHF's
    dialogues do, or if it repeats the prompt. Otherwise it is an answer that quotes a dialogue."""
    if is_dialogue(value):
        *before, last = parse_dialogue(check_text(value, where), where)
        joined = join_turns(before)
        if begins_dialogue(value) or _agrees(joined, prompt):
            return (*joined, last)
    return read_turns(value, "assistant", where)


def _agrees(before: Turns, prompt: Turns) -> bool:
    """Checks whether the turns before an answer begin or end with the prompt. One of the two may lack the system turn."""
    turns, question = drop_system(before), drop_system(prompt)
    one, other = get_system(before), get_system(prompt)
    return (not one or not other or one == other) and question in (turns[: len(question)], turns[-len(question) :])


def agree_on_prompt(prompts: Sequence[Turns], where: str) -> Turns:
    """Returns the turns to which several answers reply. These turns must be the same for all answers. Only a leading
    system turn may be missing before some answers."""
    longest = max(prompts, key=len)
    if any(turns not in (longest, drop_system(longest)) for turns in prompts):
        raise UselessRecordError(
            f"{where}: the answers reply to different prompts; the turns before them must be the same.", PROMPTS_DIFFER
        )
    return longest


def get_system(turns: Turns) -> Turns:
    """Returns the leading system turn, or no turn if there is none."""
    return turns[:1] if turns and turns[0].role == "system" else ()


def drop_system(turns: Turns) -> Turns:
    """Returns the turns without a leading system turn."""
    return turns[len(get_system(turns)) :]


def require_question(turns: Turns, where: str) -> Turns:
    """Returns the turns. Raises `UselessRecordError` if the last turn is not the user's."""
    if not turns or turns[-1].role != "user":
        raise UselessRecordError(
            f"{where}: the prompt must end in a turn of the user, to which the answer replies.", NOT_ASKED
        )
    return turns
