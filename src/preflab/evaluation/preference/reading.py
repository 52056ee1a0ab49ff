"""Reads the letter from a judge's reply. A reply that does not clearly name one answer is unreadable. Does not import
torch."""

from __future__ import annotations

import re
from typing import cast

from preflab.evaluation.preference.orders import Letter

_QUOTES = r"[\s*_\"'“”‘’()\[\]`]*"
_LABELLED = re.compile(
    rf"{_QUOTES}more\s+helpful{_QUOTES}:{_QUOTES}(?:response\s+)?(?-i:([AB])){_QUOTES}\.?{_QUOTES}", re.I
)
_ALONE = re.compile(rf"{_QUOTES}([AB]){_QUOTES}\.?{_QUOTES}")


def read_letter(reply: str, *, cut: bool = False) -> Letter | None:
    """Returns the letter on the reply's last line. The line must have the form 'More helpful: A', or be the letter
    alone. Returns None if the last line has another form, if an earlier line names the other letter in one of these
    forms, or if the reply was cut before its end.

    A judge may quote an answer that imitates a verdict. A quotation within a line has no effect. A quotation that fills
    a line has an effect only if its letter differs from the last line's letter: the reply is then unreadable.
    """
    lines = [line for line in reply.splitlines() if line.strip()]
    if cut or not lines:
        return None
    last = _read_line(lines[-1])
    named = {letter for line in lines if (letter := _read_line(line))}
    return last if len(named) == 1 else None


def _read_line(line: str) -> Letter | None:
    match = _LABELLED.fullmatch(line) or _ALONE.fullmatch(line)
    return cast(Letter, match[1]) if match else None
