"""Decides whether a final answer is right, if this can be decided without computer algebra."""

from __future__ import annotations

import re
from fractions import Fraction

from preflab.testbeds.math.final import clean_answer

MOST_CHARACTERS = 500
"""The largest number of characters of a final answer. A longer final answer counts as wrong."""
_DECIMAL = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?")
_SPACES = re.compile(r"(?<=\d)(?:\{,\}|\\[,!;: ]|~)(?=\d{3})")
_MONEY = re.compile(r"^([-+]?)\s*\\?\$\s*(?=[\d.])")
_WITH_WORDS = re.compile(r"([-+]?[\d,]*\.?\d+)\s+([A-Za-z]{2,}[^\d]*)")
_SCALES = (
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "half",
    "third",
    "quarter",
    "percent",
    "pi",
)
_JOINING = ("or", "and", "plus", "minus", "times", "over", "sqrt")
_OPERATION = re.compile(r"[\d)}%]\s*(?:[-+*−×÷]|\\cdot|\\div|\\times(?!\s*10\s*\^))\s*[\d({\\]")
_FRACTION = re.compile(r"\\[dt]?frac|\d\s*/\s*\d")


def simplify_answer(text: str) -> str:
    """Removes parts of a final answer that do not change its value: thousands separators, dollar signs, and words after
    a number, such as a unit."""
    text = _SPACES.sub("", clean_answer(text).replace("−", "-"))
    text = _MONEY.sub(r"\1", text)
    match = _WITH_WORDS.fullmatch(text)
    if match and match[2].lower().strip(" .") == "percent":
        return f"{match[1]}%"
    if match and not {*_SCALES, *_JOINING} & {*re.findall("[a-z]+", match[2].lower())}:
        return match[1]
    return text


def compare_plainly(right: str, answer: str) -> bool | None:
    """Returns whether `answer` is equal to `right`, or None if the comparison needs computer algebra. Both texts are
    simplified final answers.

    If the right answer is a number, a calculation such as 17+25 counts as wrong, because the policy could have copied
    the calculation from the question. If the right answer is a whole number, a fraction counts as wrong too.
    """
    if right == answer:
        return True
    if not answer or len(answer) > MOST_CHARACTERS:
        return False
    wanted, given = _read_number(right), _read_number(answer)
    if wanted is not None and given is not None and (wanted == given or wanted.denominator == given.denominator == 1):
        return wanted == given
    whole = wanted is not None and wanted.denominator == 1
    if wanted is not None and (_OPERATION.search(answer) or (whole and _FRACTION.search(answer))):
        return False
    return None


def _read_number(text: str) -> Fraction | None:
    """Returns the value of a plain decimal number that is given as text. Returns None for any other text."""
    if len(text) > 50 or not _DECIMAL.fullmatch(text) or not any(letter.isdigit() for letter in text):
        return None
    return Fraction(text.replace(",", "").rstrip("."))
