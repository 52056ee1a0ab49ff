"""Reads the three forms of SafeRLHF's records: pairs with labels for helpfulness and for safety, pairs that are
ordered only by safety, and single safe answers.

In a pair that is ordered only by safety, the data show which response is safer. They do not show whether a response is
safe.
"""

from __future__ import annotations

from typing import Any, cast

from preflab.data.lines import check_text, read_text_field
from preflab.data.row import DataRecord, DialogueRow
from preflab.data.safety import SafetyRecord, read_safety_record, read_single_prompt
from preflab.errors import UserError
from preflab.types import Completion

SAME_RESPONSES = "the two responses are the same"
EMPTY_RESPONSE = "a response is empty"
CONTRARY_LABELS = "the response labelled safer is unsafe, and the other response is safe"


def parse_safety_record(record: DataRecord, where: str) -> SafetyRecord | DialogueRow:
    """Parses a record. Returns a `SafetyRecord` if the record has labels for helpfulness and for safety. Returns a
    `DialogueRow` if the record has a pair that is ordered only by safety, or a single safe answer. Raises `UserError`
    for any other record. The error message names the file, the line and the field."""
    if "response_0" in record:
        return read_safety_record(record, where)
    response = record.get("response")
    if isinstance(response, str):
        return DialogueRow(read_single_prompt(record, where), Completion(read_text_field(record, "response", where)))
    if isinstance(response, list):
        return _read_ordered_pair(record, cast(list[Any], response), where)
    raise UserError(
        f"{where} is not a record of SafeRLHF. A record needs `prompt`, and either `response`, or `response_0`, "
        "`response_1` and the four labels. `response` must be one safe response as text, or a list of two texts, of "
        f"which the first is the safer response. The record has these fields: {', '.join(record) or 'none'}."
    )


def explain_useless(record: SafetyRecord | DialogueRow) -> str:
    """Returns the reason why a record cannot be used, or '' if the record can be used."""
    answers = list_responses(record)
    if any(not answer.text.strip() for answer in answers):
        return EMPTY_RESPONSE
    if len(answers) == 2 and answers[0].text == answers[1].text:
        return SAME_RESPONSES
    if isinstance(record, SafetyRecord) and any(record.safe) and not record.safe[record.safer]:
        return CONTRARY_LABELS
    return ""


def list_responses(record: SafetyRecord | DialogueRow) -> list[Completion]:
    """Returns every response of a record."""
    if isinstance(record, SafetyRecord):
        return list(record.responses)
    return [answer for answer in (record.answer, record.rejected) if answer is not None]


def list_safe(record: SafetyRecord | DialogueRow) -> list[Completion]:
    """Returns the responses of a record that are known to be safe."""
    if isinstance(record, SafetyRecord):
        return [response for response, safe in zip(record.responses, record.safe, strict=True) if safe]
    return [record.answer] if record.answer is not None and record.rejected is None else []


def _read_ordered_pair(record: DataRecord, responses: list[Any], where: str) -> DialogueRow:
    if len(responses) != 2:
        raise UserError(
            f"{where}: `response` must be a list of two texts, of which the first is the safer response. The length of this "
            f"list is {len(responses)}."
        )
    safer, other = (Completion(check_text(text, f"{where}: `response`")) for text in responses)
    return DialogueRow(read_single_prompt(record, where), safer, other)
