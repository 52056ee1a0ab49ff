"""Extracts the program from an answer, and determines the task that the program must solve.

The program and the task depend only on the answer's text and on the `Recipe` of the tests. A chat model puts programs
into fenced code blocks, between explanations and examples. A base model continues the problem statement, and often
writes more text after the end of its program.

If the answer has fenced blocks, the program is the last block that defines the required function, because a later block
often corrects an earlier one. If no function is required, the program is the last block that contains a statement or a
call. A block without a closing fence reaches to the end of the answer. If the answer has no fence, the program is the
longest beginning of the answer that is valid Python.
"""

from __future__ import annotations

import ast
import bisect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

_FENCE = re.compile(r"^([ \t]*)(```+|~~~+)[ \t]*([\w+.-]*)[^\n]*$")
_LATE_FENCE = re.compile(r"^([^`\n]*[^`\s][ \t]*)(```+py(?:thon3?)?[ \t]*)$", re.MULTILINE)
"""An opening fence of Python that follows other text on the same line."""
_BEGIN_MARK = re.compile(r"^\[(?:BEGIN|PYTHON)\][ \t]*\n", re.MULTILINE)
_END_MARK = re.compile(r"^\[(?:DONE|/PYTHON)\]", re.MULTILINE)
"""The marks that MBPP puts around an answer, each on its own line."""
_DOCUMENTS = ("markdown", "md")  # tags of fenced documents, which can contain fenced programs
_MOST_FENCES = 8  # how many fences are tried as the end of one block
_MOST_DROPPED = 60  # how many lines are dropped at most, one after another, to find the end of a program
_MOST_PARSED = 1_000_000  # how many characters one search parses at most, so it tries fewer ends of a long answer
_MOST_CHARACTERS = 1 << 20  # a longer answer is not searched, because longer programs are refused anyway
_MOST_WORDS = 5  # how many lines of prose are skipped at most before a program without fences
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # the errors that `ast.parse` can raise


class Recipe(NamedTuple):
    """Describes how to turn an answer into a program. The field `how` of a test contains its recipe. `task`: what the
    program must do, without the tests. `prefix`: the text that is put before every program. `opening`: the text of the
    problem statement, which an answer may continue. `function`: the name that the program must define, either a plain
    name or `Class.method` (empty: no name is required). `imports`: maps a name to the import line that is put before
    each program in which the name occurs."""

    task: ProgramTask
    prefix: str = ""
    opening: str = ""
    function: str = ""
    imports: Mapping[str, str] = {}


_SCRIPT = Recipe(ProgramTask("stdin"))


def build_program(text: str, tests: Sequence[Test]) -> tuple[str, ProgramTask]:
    """Extracts the program from an answer. Returns the program's source and the program's task, which contains
    the tests."""
    if not tests:
        raise UserError("An answer cannot be judged without tests, because every program would pass.")
    recipe: Recipe = tests[0].how or _SCRIPT
    program = extract_program(text, opening=recipe.opening, function=recipe.function)
    used = [line for name, line in recipe.imports.items() if re.search(rf"\b{name}\b", program)]
    source = prepend("".join([recipe.prefix, *used]), program)
    return source, recipe.task._replace(tests=tests)


def extract_program(text: str, *, opening: str = "", function: str = "") -> str:
    """Returns the source of the program in an answer. `Recipe` explains `opening` and `function`."""
    if len(text) > _MOST_CHARACTERS:
        return text
    text = _between_marks(text.replace("\r\n", "\n"))
    blocks = _fenced_blocks(_LATE_FENCE.sub(r"\1\n\2", text))
    if not blocks:
        whole = _cut_to_python("", text) if function and not text[:1].isspace() else ""
        complete = whole and _defines(whole, function) and parses(whole)
        return whole if complete else _cut_to_python(opening, text)
    fitting = [block for block in blocks if (_defines(block, function) if function else _is_program(block))]
    return fitting[-1] if fitting else _cut_to_python(opening, blocks[-1])


def prepend(prefix: str, program: str) -> str:
    """Returns the prefix followed by the program. If the program imports from `__future__`, these imports are moved
    before the prefix."""
    if not prefix or "__future__" not in program or not parses(program):
        return prefix + program
    imports = [node for node in ast.parse(program).body if isinstance(node, ast.ImportFrom)]
    nodes = [node for node in imports if node.module == "__future__"]
    lines = program.splitlines(keepends=True)
    for node in nodes:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = "\n"
    return "\n".join([*map(ast.unparse, nodes), prefix, "".join(lines)])


def _between_marks(text: str) -> str:
    """Returns the text between `[BEGIN]` and the first `[DONE]`. Without `[BEGIN]`, the result starts where the text
    starts. Without `[DONE]`, it ends where the text ends."""
    end = _END_MARK.search(text)
    text = text[: end.start()] if end else text
    begin = _BEGIN_MARK.search(text)
    return text[begin.end() :] if begin else text


def _fenced_blocks(text: str) -> list[str]:
    """Returns the blocks whose fences are marked as Python. If no fence is marked as Python, returns the blocks whose fences
    have no mark."""
    blocks: list[tuple[str, str]] = []
    lines = text.splitlines(keepends=True)
    closing: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            closing.setdefault(line.strip(), []).append(number)
    place = 0
    while place < len(lines):
        fence = _FENCE.match(lines[place].rstrip("\n"))
        place += 1
        if fence and fence[3].lower() not in _DOCUMENTS:
            body, place = _read_block(lines, place, fence[1], fence[2], closing.get(fence[2], []))
            blocks.append((fence[3].lower(), body))
    marked = [body for tag, body in blocks if tag.startswith("py")]
    return marked or [body for tag, body in blocks if not tag]


def _read_block(lines: Sequence[str], start: int, indent: str, fence: str, closing: Sequence[int]) -> tuple[str, int]:
    """Returns the text of the block that begins at line `start`, and the index of the line after the block. `closing`:
    the indexes of all lines that consist of the block's fence. If the text before the next fence is not valid Python,
    the fence can be part of the block, for example of a docstring. Later fences are therefore tried as the end of the
    block. If no closing fence follows, the block reaches to the end of the answer. If such an answer ends with a fence
    on a line with other text, the block does not include this fence."""
    first = bisect.bisect_left(closing, start)
    ends = closing[first : first + _MOST_FENCES]
    bodies = [("".join(line.removeprefix(indent) for line in lines[start:at]), at + 1) for at in ends]
    if not bodies:
        rest = "".join(line.removeprefix(indent) for line in lines[start:])
        return rest.rstrip().removesuffix(fence) if rest.rstrip().endswith(fence) else rest, len(lines)
    return next((body for body in bodies if parses(body[0])), bodies[0])


def _is_program(source: str) -> bool:
    """Checks whether the source is valid Python that contains a statement or a call. The printed output of an example
    can also be valid Python, but the output contains only values."""
    return parses(source) and any(
        not isinstance(node, ast.Expr) or any(isinstance(part, ast.Call) for part in ast.walk(node))
        for node in ast.parse(source).body
    )


def _cut_to_python(opening: str, text: str) -> str:
    """Returns the opening plus as many lines from the beginning of the text as possible, so that the result is valid
    Python. If no result is valid, returns the opening plus the whole text. If there is no opening, skips lines of prose
    before the program."""
    if not opening and text[:1].isspace():
        whole = textwrap.dedent(text)
        text = whole if parses(whole) else text.lstrip()
    lines = text.splitlines(keepends=True)
    for skipped in range(1 if opening else min(_MOST_WORDS, len(lines)) + 1):
        source = _longest_beginning(opening, lines[skipped:])
        if source is not None and (not skipped or _is_program(source)):
            return source
    return opening + text


def _longest_beginning(opening: str, lines: Sequence[str]) -> str | None:
    """Returns the opening plus as many of the first `lines` as possible, so that the result is valid Python. Searches
    backwards from the last line, then backwards from the line of the first syntax error. Returns None if both searches
    fail."""
    tries = max(1, min(_MOST_DROPPED, _MOST_PARSED // (1 + sum(map(len, lines)))))
    for end in (len(lines), _count_good_lines(opening + "".join(lines)) - opening.count("\n")):
        for kept in range(end, max(0, end - tries), -1):
            source = opening + "".join(lines[:kept])
            if parses(source):
                return source
    return None


def _count_good_lines(source: str) -> int:
    """Counts the lines before the first syntax error. Returns 0 if there is no syntax error, or if Python does not
    report its line."""
    try:
        ast.parse(source)
    except _UNPARSABLE as error:
        return max(0, (error.lineno or 1) - 1) if isinstance(error, SyntaxError) else 0
    return 0


def _defines(source: str, function: str) -> bool:
    """Checks whether the source, or its class `Solution`, defines the name. Searches the source as text, because the source
    may not be valid Python."""
    name = re.escape(function.partition(".")[0])
    if re.search(rf"^(?:async )?(?:def|class)\s+{name}\b|^{name}\s*=", source, re.MULTILINE):
        return True
    solution = re.search(r"^class\s+Solution\b", source, re.MULTILINE)
    method = re.compile(rf"^[ \t]+def\s+{name}\b", re.MULTILINE)
    return solution is not None and method.search(source, solution.end()) is not None


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except _UNPARSABLE:
        return False
    return True
