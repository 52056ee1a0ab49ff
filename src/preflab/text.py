"""Prepares text for people to read: makes hidden characters visible, joins lines, and shortens values."""

from __future__ import annotations

import json
import re
import unicodedata

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
# U+200C and U+200D join letters and emoji. They are safe, because they cannot reorder or hide text.
_KEPT = frozenset("\n\t\u200c\u200d")


def visible(text: str) -> str:
    """Returns `text` with every control, format, unassigned and private-use character replaced by its code, e.g.
    ⟨U+202E⟩.

    Terminal escape sequences, bidirectional marks and zero-width characters are therefore visible and have no effect.
    """
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"⟨U+{ord(char):04X}⟩" for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """Returns `visible(text)` on one line: each sequence of spaces and line ends becomes one space."""
    return " ".join(visible(text).split())


def brief(value: object) -> str:
    """Returns a short text for messages: the first 80 characters of a value as JSON. If JSON cannot represent the
    value, returns the value's type."""
    try:
        text = json.dumps(value, default=repr)
        return re.sub(r"//[^/@\s]*@", "//…@", text)[:80]  # removes the user and password from a URL
    except (ValueError, RecursionError):  # for a number with thousands of digits, or a list that contains itself
        return f"a {type(value).__name__}"


def counted(count: int, noun: str) -> str:
    """Returns the count with its noun: 1 seed, 3 seeds."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def with_prefix(number: float) -> str:
    """Returns a number with a decimal prefix and three digits: 950, 16.4k, 2.1M, 1.3P."""
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{number / size:.3g}{prefix}"
    return f"{number:.3g}"
