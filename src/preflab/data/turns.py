"""Reads dialogues from text, lists of messages, strings in HH-RLHF's form, or lists of questions with answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from preflab.data.lines import check_text
from preflab.data.row import NO_TEXT, NOT_ASKED, PROMPTS_DIFFER, UNTRAINED, DataRecord, UselessRecordError
from preflab.data.written import parse_messages
from preflab.errors import UserError
from preflab.types import Completion, Role, Turn

Turns = tuple[Turn, ...]
_SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bing", "bard", "bot", "chatbot", "model", "ai"),
        "assistant",
    ),
}
"""Maps each speaker that a message may name, in lower case, to a role."""
_PAIRS = (("from", "value"), ("role", "content"), ("role", "value"), ("from", "content"))
"""The two fields of a message that name the speaker and what is said."""
_CALLS = ("tool_calls", "function_call")
_WEIGHTS = ("weight", "loss", "train")
"""Fields that say, by 0 or false, that a turn is not to be learned from (OpenAI, ms-swift, axolotl)."""
_TOOLS = ("tool", "function", "function_call", "observation", "ipython")
_MARKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_DIALOGUE = re.compile(r"(?:\n\n)?Human:.*\n\nAssistant:", re.DOTALL)


def read_turns(value: Any, role: Role, where: str) -> Turns:
    """Reads text as one turn of `role`, or reads a message or a list of messages, which may be written as text. Raises
    `UserError` for anything else."""
    if isinstance(value, str):
        value = parse_messages(value, where) or value
    if isinstance(value, str):
        return (Turn(role, check_text(value, where)),)
    if isinstance(value, dict):
        return (_read_message(value, where),)
    messages = cast(list[Any], value) if isinstance(value, list) else [check_text(value, where)]
    turns = tuple(_read_message(message, f"{where}[{number}]") for number, message in enumerate(messages))
    if not turns:
        raise UserError(f"{where} is an empty list.")
    if turns[-1].role == "assistant" and _is_untrained(messages[-1]):
        raise UselessRecordError(f"{where}: {UNTRAINED}.", UNTRAINED)
    return turns


def read_dialogue(value: Any, where: str) -> Turns:
    """Reads a dialogue: messages, text that marks who speaks, or questions with answers. Raises `UserError` for other
    text, which would become one turn."""
    exchanges = _list_exchanges(value)
    if exchanges is not None:
        texts = [text for exchange in exchanges for text in exchange]
        return _alternate(texts if texts[-1] is not None else texts[:-1], where)
    if is_dialogue(value):
        return join_turns(parse_dialogue(check_text(value, where), where))
    if isinstance(value, str) and parse_messages(value, where) is None:
        raise UserError(
            f"{where} must be a list of messages, or text with `Human:` and `Assistant:` after blank lines, not "
            f"{value[:40]!r}. If it is one question, name it so: `fields: {{prompt: ...}}`."
        )
    return read_turns(value, "user", where)


def _list_exchanges(value: Any) -> list[list[Any]] | None:
    """Returns the texts of a dialogue that names no speakers: `[question, answer, ...]` (LIMA), or
    `[{"input": question, "output": answer}, ...]` (Capybara). Returns None for any other value."""
    items = cast(list[Any], value) if isinstance(value, list) else []
    if items and all(isinstance(item, str) for item in items):
        return [items]
    if items and all(isinstance(item, dict) and {"input", "output"} <= item.keys() for item in items):
        return [[item["input"], item["output"]] for item in items]
    return None


def _alternate(texts: Sequence[Any], where: str) -> Turns:
    """Returns texts as turns, the first of which is the user's, the second the assistant's, and so on."""
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(Turn(roles[place % 2], check_text(text, f"{where}[{place}]")) for place, text in enumerate(texts))


def read_prompt_turns(value: Any, where: str) -> Turns:
    """Reads the turns of a prompt. The prompt may also be a string in HH-RLHF's form that ends where the answer
    begins."""
    if not (isinstance(value, str) and _DIALOGUE.match(value)):
        return read_turns(value, "user", where)
    turns = parse_dialogue(check_text(value, where), where)
    return join_turns(turns if turns[-1].content else turns[:-1])


def read_answer(value: Any, prompt: Turns, where: str) -> tuple[Turns, Completion]:
    """Returns the turns before an answer, and the answer. `value` is the answer as text, or a dialogue whose last turn
    is the answer: a list of messages, or a string in HH-RLHF's form. If turns come before the answer, they must agree
    with `prompt`, and they are returned; otherwise `prompt` is returned. A system turn may stand in one of the two."""
    turns = _split_answer(value, prompt, where)
    before, last = turns[:-1], turns[-1]
    if last.role != "assistant" or (before and not _agrees(before, prompt)):
        raise UselessRecordError(
            f"{where} must be one turn of the assistant, alone or after the turns of the prompt.", PROMPTS_DIFFER
        )
    asked = (*(get_system(before) or get_system(prompt)), *drop_system(before)) if before else prompt
    return asked, Completion(last.content)


def _split_answer(value: Any, prompt: Turns, where: str) -> Turns:
    """Returns the turns of an answer. Text that looks like HH-RLHF's is a dialogue if it begins with a blank line, as
    theirs do, or if it repeats the prompt; otherwise it is an answer that quotes a dialogue."""
    if is_dialogue(value):
        *before, last = parse_dialogue(check_text(value, where), where)
        joined = join_turns(before)
        if value.startswith("\n\n") or _agrees(joined, prompt):
            return (*joined, last)
    return read_turns(value, "assistant", where)


def _agrees(before: Turns, prompt: Turns) -> bool:
    """Checks whether the turns before an answer begin or end with the prompt. A system turn may stand in one of them."""
    turns, asked = drop_system(before), drop_system(prompt)
    one, other = get_system(before), get_system(prompt)
    return (not one or not other or one == other) and asked in (turns[: len(asked)], turns[-len(asked) :])


def agree_on_prompt(prompts: Sequence[Turns], where: str) -> Turns:
    """Returns the turns to which several answers reply. They must be the same for all answers, except that a leading
    system turn may be missing from some."""
    longest = max(prompts, key=len)
    if any(turns not in (longest, drop_system(longest)) for turns in prompts):
        raise UselessRecordError(f"{where}: the answers reply to different prompts.", PROMPTS_DIFFER)
    return longest


def get_system(turns: Turns) -> Turns:
    """Returns the leading system turn, or no turn if there is none."""
    return turns[:1] if turns and turns[0].role == "system" else ()


def drop_system(turns: Turns) -> Turns:
    """Returns the turns without a leading system turn."""
    return turns[len(get_system(turns)) :]


def read_exchanges(value: Any, where: str) -> Turns:
    """Reads the earlier exchanges of a dialogue as turns. `value` is a list `[[question, answer], ...]`, or a list of
    messages."""
    pairs = cast(list[Any], value) if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(cast(list[Any], pair)) == 2 for pair in pairs):
        return read_turns(pairs, "user", where) if pairs else ()
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(
        Turn(role, check_text(text, where)) for pair in pairs for role, text in zip(roles, pair, strict=True) if text
    )


def require_question(turns: Turns, where: str) -> Turns:
    """Returns the turns. Raises `UselessRecordError` if the last turn is not the user's."""
    if not turns or turns[-1].role != "user":
        raise UselessRecordError(
            f"{where}: the prompt must end in a turn of the user, to which the answer replies.", NOT_ASKED
        )
    return turns


def is_dialogue(value: Any) -> bool:
    """Checks whether the value is a dialogue as one string, in HH-RLHF's form."""
    return isinstance(value, str) and _DIALOGUE.match(value) is not None


def parse_dialogue(text: str, where: str) -> Turns:
    """Returns the turns of a string in HH-RLHF's form. Only `Human:` or `Assistant:` at the start of a paragraph begins
    a turn."""
    head, *pieces = _MARKER.split(text)
    if head.strip() or not pieces:
        raise UserError(f"{where} is not a dialogue: it must begin with a blank line and `Human:`, not {text[:40]!r}.")
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return tuple(Turn("user" if speaker == "Human" else "assistant", content.strip()) for speaker, content in pairs)


def join_turns(turns: Sequence[Turn]) -> Turns:
    """Joins consecutive turns of the same role, because chat templates need roles that alternate."""
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Turn(turn.role, f"{joined[-1].content}\n\n{turn.content}".strip())
        else:
            joined.append(turn)
    return tuple(joined)


def ends_in_question(value: Any) -> bool:
    """Checks whether the value is a list of messages, the last of which is the user's."""
    last = cast(list[Any], value)[-1] if isinstance(value, list) and value else None
    fields = cast(DataRecord, last) if isinstance(last, dict) else {}
    pair = _find_pair(fields)
    return pair is not None and _SPEAKERS.get(_spell_speaker(fields[pair[0]])) == "user"


def _read_message(message: Any, where: str) -> Turn:
    """Reads a message, which names a speaker (`role` or `from`) and what is said (`content` or `value`)."""
    fields = cast(DataRecord, message) if isinstance(message, dict) else {}
    if any(fields.get(name) for name in _CALLS):
        raise UselessRecordError(f"{where} holds a tool call, which preflab does not train on.", NO_TEXT)
    pair = _find_pair(fields)
    if pair is None:
        raise UserError(
            f'{where} must be {{"role": ..., "content": ...}}, not {json.dumps(message, default=str)[:60]}.'
        )
    name = _spell_speaker(fields[pair[0]])
    if name in _TOOLS:
        raise UselessRecordError(f"{where} is a turn of `{name}`, which preflab does not train on.", NO_TEXT)
    if name not in _SPEAKERS:
        raise UserError(f"{where}: the role must be one of system, user, assistant, not {name!r}.")
    return Turn(_SPEAKERS[name], _read_content(fields[pair[1]], f"{where}.{pair[1]}"))


def _find_pair(fields: DataRecord) -> tuple[str, str] | None:
    """Returns the fields that name the speaker of a message and what is said; None if it has no such fields. What is
    said may be null."""
    said = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and fields.get(pair[1]) is not None)
    empty = (pair for pair in _PAIRS if fields.get(pair[0]) is not None and pair[1] in fields)
    return next(said, None) or next(empty, None)


def _spell_speaker(value: Any) -> str:
    return value.strip().casefold() if isinstance(value, str) else json.dumps(value, default=str)


def _is_untrained(message: Any) -> bool:
    """Checks whether a message says that it is not to be learned from."""
    return isinstance(message, dict) and any(cast(DataRecord, message).get(name) in (0,) for name in _WEIGHTS)


def _read_content(value: Any, where: str) -> str:
    """Reads the content of a message: text, or a list of parts that are all text."""
    parts = cast(list[Any], value) if isinstance(value, list) else []
    if value is None or any(isinstance(part, dict) and part.get("text") is None for part in parts):
        raise UselessRecordError(
            f"{where} contains something other than text (an image, a sound or a tool call).", NO_TEXT
        )
    if parts and all(isinstance(part, dict) for part in parts):
        return "".join(check_text(part["text"], where) for part in parts)
    return check_text(value, where)
