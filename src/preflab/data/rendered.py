"""Recognises texts that a chat template has rendered already."""

from __future__ import annotations

import re

from preflab.data.row import DialogueRow

_MARK = r"(?:<\|\w+\|>|</?s>|\[/?INST\]|<(?:bos|eos|start_of_turn|end_of_turn)>)"
_BEGINS, _ENDS = re.compile(rf"\s*{_MARK}"), re.compile(rf"{_MARK}\s*\Z")


def is_rendered(row: DialogueRow) -> bool:
    """Checks whether the first turn of a row's prompt begins with a mark of a chat template, or one of its answers ends with
    one."""
    answers = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
    return _BEGINS.match(row.prompt.turns[0].content) is not None or any(_ENDS.search(text[-40:]) for text in answers)
