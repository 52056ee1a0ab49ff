"""Text that people read: nothing in it is hidden, and a text that must stay on one line stays there."""

from __future__ import annotations

import json
import re
import unicodedata

_KEPT = frozenset("\n\t\u200c\u200d")  # joiners shape letters and emoji; they cannot reorder or hide text


def visible(text: str) -> str:
    """Returns `text` with every control, format, unassigned and private character written out, e.g. ⟨U+202E⟩.

    A terminal's escape sequences, bidirectional marks and zero-width characters then have no effect, and are seen.
    """
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"⟨U+{ord(char):04X}⟩" for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """Returns `visible` text in which each run of blanks and line ends is a single blank."""
    return " ".join(visible(text).split())


def brief(value: object) -> str:
    """Returns the beginning of a value as JSON, for a message; returns only the value's type if JSON cannot express it."""
    try:
        text = json.dumps(value, default=repr)
        return re.sub(r"//[^/@\s]*@", "//…@", text)[:80]  # removes the password from an address
    except (ValueError, RecursionError):  # such as a number with thousands of digits, or a list that holds itself
        return f"a {type(value).__name__}"


def counted(count: int, noun: str) -> str:
    """Returns the count with its noun: 1 seed, 3 seeds."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
