"""Reads SafeRLHF's records. Also reads the fields in which a pair of any data set says whether its answers are safe.

A record of SafeRLHF has two responses to one prompt. Two labels compare the responses: one label says which response is
more helpful, and the other says which response is safer. Two more labels say whether each response is safe.
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
"""The fields of a pair that say whether its better answer and its worse answer are safe."""
RESPONSES_SAFE = ("is_response_0_safe", "is_response_1_safe")
"""SafeRLHF's fields that say whether each response is safe."""
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class SafetyRecord:
    """A record with both labels, in the paper's letters (x, y1, y2, l_help, l_safe, b1, b2).

    `prompt`: x. `responses`: y1 and y2. `helpful`, `safer`: the place (0 or 1) of the more helpful response and of the
    safer response, l_help and l_safe. `safe`: whether each response is safe, b1 and b2.
    """

    prompt: Prompt
    responses: tuple[Completion, Completion]
    helpful: int
    safer: int
    safe: tuple[bool, bool]


def read_safety_record(record: DataRecord, where: str) -> SafetyRecord:
    """Reads a record of SafeRLHF. Raises `UserError`, which names file, line and field, if one of its seven fields is
    missing or wrong."""
    helpful, safer = (_read_place(record, name, where) for name in ("better_response_id", "safer_response_id"))
    first, second = (Completion(read_text_field(record, name, where)) for name in ("response_0", "response_1"))
    flags = [read_flag(record, name, where) for name in RESPONSES_SAFE]
    if flags[0] is None or flags[1] is None:
        raise UserError(f"{where}: the field `{RESPONSES_SAFE[flags.index(None)]}` is missing.")
    return SafetyRecord(read_single_prompt(record, where), (first, second), helpful, safer, (flags[0], flags[1]))


def read_single_prompt(record: DataRecord, where: str) -> Prompt:
    """Returns the text in `prompt` as a dialogue of one turn."""
    turns = (Turn("user", read_text_field(record, "prompt", where)),)
    return Prompt(make_prompt_id(turns), turns)


def read_flag(record: DataRecord, name: str, where: str) -> bool | None:
    """Returns the truth value of a field, or None if the field is absent or null. Accepts text and the numbers 1 and 0,
    because tables write true and false in this way."""
    value = record.get(name)
    if value is None:
        return None
    flag = _FLAGS.get(spell_value(value))
    if flag is None:
        raise UserError(f"{where}: `{name}` must be true or false, not {json.dumps(value, default=str)[:40]}.")
    return flag


def read_pair_safety(record: DataRecord, where: str) -> tuple[bool | None, bool | None]:
    """Returns whether the better answer and the worse answer of a pair are safe. A value is None if the pair does not
    say whether this answer is safe."""
    chosen, rejected = (read_flag(record, name, where) for name in PAIR_SAFE)
    return chosen, rejected


def name_safety(safe: tuple[bool, bool]) -> str:
    """Describes in words how many responses of a record are safe, and returns the words."""
    return "both safe" if all(safe) else "one safe" if any(safe) else "both unsafe"


def _read_place(record: DataRecord, name: str, where: str) -> int:
    value = spell_value(record.get(name))
    if name not in record or value not in ("0", "1"):
        raise UserError(f"{where}: `{name}` must be 0 or 1, the place of a response, not {value[:40]!r}.")
    return int(value)
