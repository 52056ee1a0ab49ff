"""Text that people read: nothing in it is hidden, and where it is to stay on one line it does."""

from __future__ import annotations

import json
import re
import unicodedata

_KEPT = frozenset("\n\t\u200c\u200d")  # joiners shape letters and emoji; they cannot reorder or hide text


def visible(text: str) -> str:
    """`text` with every control, format, unassigned and private character written out, e.g. ⟨U+202E⟩.

    Escape sequences of a terminal, bidirectional marks and zero-width characters thereby do nothing, and are seen.
    """
    text = text.replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else f"⟨U+{ord(char):04X}⟩" for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """`visible` text with line ends and runs of blanks as one blank."""
    return " ".join(visible(text).split())


def brief(value: object) -> str:
    """The beginning of a value as JSON, for a message; its type alone where JSON has no word for it."""
    try:
        text = json.dumps(value, default=repr)
        return re.sub(r"//[^/@\s]*@", "//…@", text)[:80]  # without the password of an address
    except (ValueError, RecursionError):  # a number of thousands of digits, a list that holds itself
        return f"a {type(value).__name__}"


def counted(count: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
