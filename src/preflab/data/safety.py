"""Reads the records of SafeRLHF. Also reads the safety labels of pairs in any data set: the two fields that tell
whether the better answer and the worse answer are safe.

A record of SafeRLHF has two responses to one prompt, and four labels. The first two labels name the more helpful
response and the safer response. The other two labels tell for each response whether it is safe.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from preflab.data.lines import read_text_field
from preflab.data.numbers import spell_value
from preflab.data.row import DataRecord, make_prompt_id
from preflab.errors import UserError
from preflab.types import Completion, Prompt, Turn

PAIR_SAFE = ("chosen_safe", "rejected_safe")
"""The names of the fields that tell whether the better answer and the worse answer of a pair are safe."""
RESPONSES_SAFE = ("is_response_0_safe", "is_response_1_safe")
"""The names of the fields in SafeRLHF that tell whether the first response and the second response are safe."""
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class SafetyRecord:
    """A record of SafeRLHF. This docstring uses the symbols of Xu et al. 2024, "Is DPO Superior to PPO for LLM
    Alignment?": x, y1, y2, l_help, l_safe, b1, b2.

    `prompt`: x. `responses`: y1 and y2. `helpful`: the index (0 or 1) of the more helpful response, l_help. `safer`:
    the index (0 or 1) of the safer response, l_safe. `safe`: whether each response is safe, b1 and b2.
    """

    prompt: Prompt
    responses: tuple[Completion, Completion]
    helpful: int
    safer: int
    safe: tuple[bool, bool]


def read_safety_record(record: DataRecord, where: str) -> SafetyRecord:
    """Returns a record of SafeRLHF as a `SafetyRecord`. Raises `UserError` if one of the record's seven fields is
    missing or has a wrong value. The error names the file, the line and the field."""
    helpful, safer = (_read_place(record, name, where) for name in ("better_response_id", "safer_response_id"))
    first, second = (Completion(read_text_field(record, name, where)) for name in ("response_0", "response_1"))
    flags = [read_flag(record, name, where) for name in RESPONSES_SAFE]
    if flags[0] is None or flags[1] is None:
        raise UserError(f"{where}: the field `{RESPONSES_SAFE[flags.index(None)]}` is missing.")
    return SafetyRecord(read_single_prompt(record, where), (first, second), helpful, safer, (flags[0], flags[1]))


def read_single_prompt(record: DataRecord, where: str) -> Prompt:
    """Returns the text in the field `prompt` as a prompt with a single user turn."""
    turns = (Turn("user", read_text_field(record, "prompt", where)),)
    return Prompt(make_prompt_id(turns), turns)


def read_flag(record: DataRecord, name: str, where: str) -> bool | None:
    """Returns the truth value of a field. Returns None if the field is absent or null. Accepts true and false, these
    words as text, and the numbers 1 and 0, because tables store truth values in all these forms."""
    value = record.get(name)
    if value is None:
        return None
    flag = _FLAGS.get(spell_value(value))
    if flag is None:
        raise UserError(f"{where}: `{name}` must be true or false, not {json.dumps(value, default=str)[:40]}.")
    return flag


def read_pair_safety(record: DataRecord, where: str) -> tuple[bool | None, bool | None]:
    """Returns two values: whether the better answer of a pair is safe, and whether the worse answer is safe. A value is
    None if the pair has no label for this answer."""
    chosen, rejected = (read_flag(record, name, where) for name in PAIR_SAFE)
    return chosen, rejected


def name_safety(safe: tuple[bool, bool]) -> str:
    """Returns a description of how many of two responses are safe, such as "one safe"."""
    return "both safe" if all(safe) else "one safe" if any(safe) else "both unsafe"


def _read_place(record: DataRecord, name: str, where: str) -> int:
    value = spell_value(record.get(name))
    if name not in record or value not in ("0", "1"):
        raise UserError(f"{where}: `{name}` must be 0 or 1, the number of a response, not {value[:40]!r}.")
    return int(value)
