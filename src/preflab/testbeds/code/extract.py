"""The program in an answer. A pure function of the answer's text and of what the statement had already opened.

A chat model puts programs into fences, among words and examples; a base model goes on from the statement, often beyond the
end of its program. Of fenced blocks the last one that defines the wanted function counts (a second thought is the better
one), or the last of all where no function is wanted; a block that is not closed reaches to the end. Without a fence the
answer is the program, up to where it stops being Python.
"""

from __future__ import annotations

import ast
import re

FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
PYTHON = ("python", "python3", "py", "py3")
DROPPED = 60
"""Lines that an answer may go on for after its program."""


def extract(text: str, *, opening: str = "", function: str = "") -> str:
    """The program's source. `opening`: code that the answer may go on from; `function`: the name that it must define, a
    plain one or `Class.method`."""
    code = blocks(text.replace("\r\n", "\n"))
    if not code:
        return completed(opening, text)
    wanted = [block for block in code if not function or defines(block, function)]
    if wanted:
        return wanted[-1]
    return completed(opening, code[-1])


def blocks(text: str) -> list[str]:
    """What stands in fences marked as Python, or in unmarked ones where none is so marked."""
    found = [(tag.lower(), body) for _, tag, body in FENCE.findall(text)]
    marked = [body for tag, body in found if tag in PYTHON]
    return marked or [body for tag, body in found if not tag]


def completed(opening: str, text: str) -> str:
    """The longest beginning of the text, in lines, that is Python behind the opening; all of it where none is."""
    whole = opening + text
    lines = text.splitlines(keepends=True)
    for kept in range(len(lines), max(0, len(lines) - DROPPED), -1):
        source = opening + "".join(lines[:kept])
        if parses(source):
            return source
    return whole


def defines(source: str, function: str) -> bool:
    """Whether the source has a definition of the name; one that is no Python is searched as text."""
    name = re.escape(function.partition(".")[0])
    return re.search(rf"^(?:async )?(?:def|class)\s+{name}\b|^{name}\s*=", source, re.MULTILINE) is not None


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
