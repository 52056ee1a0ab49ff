"""Compares the text that a program printed with the expected text. The module `values` compares returned values.

The rule `lines` ignores white space at the end of a line, and blank lines at the end of the text. If the expected token
is a number with a decimal point or an exponent, the printed number may differ from the expected number by `TOLERANCE`,
or by `TOLERANCE` times the expected number if that is larger. All other characters must be equal.

The rule `tokens` compares texts as programming competitions do: white space only separates tokens. If the expected
token is a number with a decimal point or an exponent, the tolerance is `TOKEN_TOLERANCE` instead of `TOLERANCE`. If the
expected token is an integer without leading zeros, the program may also print a decimal number that differs from the
integer by at most `TOKEN_TOLERANCE`.

The rule `caseless` is like `tokens`, but ignores upper and lower case. The rule `exact` compares every character.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Literal

OutputComparison = Literal["lines", "tokens", "caseless", "exact"]
TOLERANCE = 1e-6
TOKEN_TOLERANCE = 1e-5
_BLANK = " \t\r\f\v"
_DECIMAL = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?", re.ASCII)
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
LONGEST_NUMBER = 400  # in characters; a longer token is compared as text and not as a number
_PIECES = re.compile(r"(\s+)")


def drop_end(text: str, compare: OutputComparison) -> str:
    """Removes the trailing white space that the rule `compare` ignores. The rule `exact` ignores none."""
    return text if compare == "exact" else text.rstrip(_BLANK + "\n" if compare == "lines" else None)


def same_text(expected: str, got: str, compare: OutputComparison = "lines") -> bool:
    """Checks whether the printed text `got` is right, by the rule `compare`."""
    expected, got = drop_end(expected, compare), drop_end(got, compare)
    if expected == got or compare == "exact":
        return expected == got
    if compare == "caseless":
        return same_text(expected.casefold(), got.casefold(), "tokens")
    if compare == "tokens":
        expected_tokens, tokens = expected.split(), got.split()
        return len(expected_tokens) == len(tokens) and all(map(_like_token, expected_tokens, tokens))
    expected_lines, lines = _split_lines(expected), _split_lines(got)
    return len(expected_lines) == len(lines) and all(map(_same_line, expected_lines, lines))


def _split_lines(text: str) -> list[str]:
    return [line.rstrip(_BLANK) for line in text.split("\n")]


def _same_line(expected: str, got: str) -> bool:
    if expected == got:
        return True
    expected_pieces, pieces = _PIECES.split(expected), _PIECES.split(got)
    return len(expected_pieces) == len(pieces) and all(map(_same_token, expected_pieces, pieces))


def _same_token(expected: str, got: str) -> bool:
    """Compares two tokens by the rule `lines`."""
    return expected == got or _same_number(expected, got, TOLERANCE)


def _like_token(expected: str, got: str) -> bool:
    """Compares two tokens by the rule `tokens`."""
    return expected == got or _same_number(expected, got, TOKEN_TOLERANCE) or _near_whole(expected, got)


def _same_number(expected: str, got: str, tolerance: float) -> bool:
    """Checks whether `expected` is a decimal number and `got` is a number within the tolerance of `expected`."""
    if not (_are_short(expected, got) and _DECIMAL.fullmatch(expected) and NUMBER.fullmatch(got)):
        return False
    return close(float(expected), float(got), tolerance)


def _near_whole(expected: str, got: str) -> bool:
    """Checks whether `expected` is an integer and `got` is a decimal number that equals `expected`, apart from
    rounding. Computes with `Decimal`, because floats cannot represent all large integers exactly."""
    if not (_are_short(expected, got) and WHOLE.fullmatch(expected) and _DECIMAL.fullmatch(got)):
        return False
    whole, exponent = int(expected), got.lower().partition("e")[2]
    near = len(exponent) <= 4 and abs(Decimal(got) - whole) <= Decimal(TOKEN_TOLERANCE)
    return near and str(whole) == expected


def _are_short(*tokens: str) -> bool:
    return max(map(len, tokens)) <= LONGEST_NUMBER


def close(expected: float, got: float, tolerance: float = TOLERANCE) -> bool:
    """Checks whether two numbers agree within the tolerance. NaN and infinities do not agree with any number."""
    try:
        gap = abs(got - expected)
    except OverflowError:  # an integer too large for a float
        return False
    return math.isfinite(gap) and gap <= tolerance * max(1.0, abs(expected))
