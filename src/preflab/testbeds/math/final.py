"""Finds the final answer in a solution: the content of the last LaTeX box, the text after the last `####`, or the text
after "the answer is"."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_HASHES = re.compile(r"####(.*)")
_SAID = re.compile(
    r"\banswer\W{0,4}(?:\s+is\b|[:=])\W{0,3}?\s*([^\s:*].*?)\s*(?:\.\s|,\s+(?=[a-z]{2})|\.?\**\s*$)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+)?(?![\w.])")
_CALCULATIONS = re.compile(r"<<[^<>]*>>")
_SURROUNDING = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_LONGEST = 200
"""A solution that consists only of a final answer has at most this number of characters."""


def find_final_answer(text: str, *, unmarked: bool = False) -> str | None:
    """Returns the final answer in a solution, or None if the solution does not mark a final answer.

    The last LaTeX box or the last `####` marks the final answer, whichever comes later. If the solution has neither a
    box nor a `####`, the last "the answer is ..." or "answer: ..." marks the final answer. `unmarked`: whether to
    return the last number in the solution if nothing marks a final answer.
    """
    marked = [*_find_boxes(text), *((match.start(), match[1]) for match in _HASHES.finditer(text))]
    if marked:
        return clean_answer(max(marked)[1]) or None
    if said := [match[1] for match in _SAID.finditer(text)]:
        return clean_answer(said[-1]) or None
    numbers = [match[0] for match in _NUMBER.finditer(text) if match[0].strip()] if unmarked else []
    return clean_answer(numbers[-1]) if numbers else None


def find_right_answer(text: str) -> str | None:
    """Returns the final answer of a solution in the data, or None if no final answer is found. If a solution is one
    short line that does not mark a final answer, the whole line is the final answer."""
    marked = find_final_answer(text)
    alone = text.strip()
    if marked is not None or "\n" in alone or len(alone) > _LONGEST or _BOX.search(alone) or "####" in alone:
        return marked
    return clean_answer(alone) or None


def drop_calculations(text: str) -> str:
    """Returns a text without GSM8K's calculator annotations, such as <<48/2=24>>. A policy should not learn to write
    these annotations."""
    return _CALCULATIONS.sub("", text)


def clean_answer(text: str) -> str:
    """Removes the characters around an answer: spaces, math delimiters such as `$`, the emphasis mark `**`, and a full
    stop at the end."""
    text = text.strip()
    before = None
    while text != before:
        before = text
        text = text.removesuffix(".").strip()
        for left, right in _SURROUNDING:
            if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
                text = text[len(left) : -len(right)].strip()
    return text


def _find_boxes(text: str) -> list[tuple[int, str]]:
    """Returns the position and the content of each LaTeX box. Leaves out a box that is not closed, which occurs in
    truncated answers."""
    boxes: list[tuple[int, str]] = []
    for match in _BOX.finditer(text):
        if text[match.end() : match.end() + 1] != "{":
            boxes += [(match.start(), text[match.end() : match.end() + 1])]
            continue
        depth = 0
        for place in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                boxes.append((match.start(), text[match.end() + 1 : place]))
                break
    return boxes
