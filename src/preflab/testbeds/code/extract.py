"""The program in an answer. A pure function of the answer's text and of what the statement had already opened.

A chat model puts programs into fences, among words and examples; a base model goes on from the statement, often beyond the
end of its program. Of fenced blocks the last one that defines the wanted function counts (a second thought is the better
one), or the last that does something where none is wanted; a block that is not closed reaches to the end. Without a fence the
answer is the program, up to where it stops being Python.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence

OPENED = re.compile(r"^([ \t]*)(```+|~~~+)[ \t]*([\w+.-]*)[^\n]*$")
LATE = re.compile(r"^([^`\n]*[^`\s][ \t]*)(```+py(?:thon3?)?[ \t]*)$", re.MULTILINE)
"""A fence of Python that opens behind words, on their line."""
BEGUN = re.compile(r"^\[(?:BEGIN|PYTHON)\][ \t]*\n", re.MULTILINE)
DONE = re.compile(r"^\[(?:DONE|/PYTHON)\]", re.MULTILINE)
"""MBPP's own marks around an answer, each on a line of its own."""
DOCUMENTS = ("markdown", "md")
"""Fences of texts that may hold fences of programs."""
FENCES = 8
"""Fences at most that are tried as the end of a block."""
DROPPED = 60
"""Lines that are dropped, one after another, to find the end of a program."""
WORDS = 5
"""Lines of words that may stand before a program without fences."""


def extract(text: str, *, opening: str = "", function: str = "") -> str:
    """The program's source. `opening`: code that the answer may go on from; `function`: the name that it must define, a
    plain one or `Class.method`."""
    text = between_marks(text.replace("\r\n", "\n"))
    code = blocks(LATE.sub(r"\1\n\2", text))
    if not code:
        whole = completed("", text) if function and not text[:1].isspace() else ""
        return whole if function and defines(whole, function) and parses(whole) else completed(opening, text)
    wanted = [block for block in code if (defines(block, function) if function else is_program(block))]
    if wanted:
        return wanted[-1]
    return completed(opening, code[-1])


def between_marks(text: str) -> str:
    """What stands before the first `[DONE]` and behind a `[BEGIN]` there, where they are used."""
    done = DONE.search(text)
    text = text[: done.start()] if done else text
    begun = BEGUN.search(text)
    return text[begun.end() :] if begun else text


def blocks(text: str) -> list[str]:
    """What stands in fences marked as Python, or in unmarked ones where none is so marked."""
    found: list[tuple[str, str]] = []
    lines = text.splitlines(keepends=True)
    place = 0
    while place < len(lines):
        opened = OPENED.match(lines[place].rstrip("\n"))
        place += 1
        if opened and opened[3].lower() not in DOCUMENTS:
            body, place = block(lines, place, opened[1], opened[2])
            found.append((opened[3].lower(), body))
    marked = [body for tag, body in found if tag.startswith("py")]
    return marked or [body for tag, body in found if not tag]


def block(lines: Sequence[str], start: int, indent: str, fence: str) -> tuple[str, int]:
    """What stands behind an opening fence, and where to go on. Where the text up to the next fence is no Python, the fence may
    be inside it, in a docstring; where no fence follows, the end closes it, or a fence at the end of a line."""
    closing = [at for at in range(start, len(lines)) if lines[at].strip() == fence]
    bodies = [("".join(line.removeprefix(indent) for line in lines[start:at]), at + 1) for at in closing[:FENCES]]
    if not bodies:
        rest = "".join(line.removeprefix(indent) for line in lines[start:])
        return rest.rstrip().removesuffix(fence) if rest.rstrip().endswith(fence) else rest, len(lines)
    return next((body for body in bodies if parses(body[0])), bodies[0])


def is_program(source: str) -> bool:
    """Whether it is Python that does something: an example's output may be Python too, of values alone."""
    if not parses(source):
        return False
    top = ast.parse(source).body
    return any(
        not isinstance(node, ast.Expr) or any(isinstance(part, ast.Call) for part in ast.walk(node)) for node in top
    )


def completed(opening: str, text: str) -> str:
    """The longest beginning of the text, in lines, that is Python behind the opening. Where nothing is opened, words may stand
    before the program; all of the text where none is found."""
    if not opening and text[:1].isspace():
        whole = textwrap.dedent(text)
        text = whole if parses(whole) else text.lstrip()
    lines = text.splitlines(keepends=True)
    for skipped in range(1 if opening else min(WORDS, len(lines)) + 1):
        source = beginning(opening, lines[skipped:])
        if source is not None and (not skipped or is_program(source)):
            return source
    return opening + text


def beginning(opening: str, lines: Sequence[str]) -> str | None:
    """The longest one that is Python, sought backwards from the end, then from where Python finds the first fault."""
    for end in (len(lines), first_fault(opening + "".join(lines)) - opening.count("\n")):
        for kept in range(end, max(0, end - DROPPED), -1):
            source = opening + "".join(lines[:kept])
            if parses(source):
                return source
    return None


def first_fault(source: str) -> int:
    """The number of lines before the one in which Python finds a fault; 0 where it does not say."""
    try:
        ast.parse(source)
    except SyntaxError as error:
        return max(0, (error.lineno or 1) - 1)
    except (ValueError, RecursionError, MemoryError):
        pass
    return 0


def defines(source: str, function: str) -> bool:
    """Whether the source has a definition of the name, or the class `Solution` has; what is no Python is searched as text."""
    name = re.escape(function.partition(".")[0])
    plain = rf"^(?:async )?(?:def|class)\s+{name}\b|^{name}\s*="
    method = rf"^class\s+Solution\b(?:.*\n)+?[ \t]+def\s+{name}\b"
    return re.search(f"{plain}|{method}", source, re.MULTILINE) is not None


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
