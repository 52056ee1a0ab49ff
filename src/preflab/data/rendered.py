"""Recognises texts that already contain the marks of a chat template."""

from __future__ import annotations

import re

from preflab.data.row import DialogueRow

_MARK = r"(?:<\|\w+\|>|</?s>|\[/?INST\]|<(?:bos|eos|start_of_turn|end_of_turn)>)"
_BEGINS, _ENDS = re.compile(rf"\s*{_MARK}"), re.compile(rf"{_MARK}\s*\Z")


def is_rendered(row: DialogueRow) -> bool:
    """Checks whether the texts of a row contain marks of a chat template. The first turn of the prompt must begin with
    such a mark, or an answer must end with such a mark."""
    answers = [answer.text for answer in (row.answer, row.rejected) if answer is not None]
    return _BEGINS.match(row.prompt.turns[0].content) is not None or any(_ENDS.search(text[-40:]) for text in answers)
