"""What a record of a programming data set becomes: a statement, tests apart into public and hidden, and known programs."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from preflab.sandbox.judge import Task
from preflab.types import Split, Test

SEVERAL = re.compile(
    r"\b(print|output|report|return|find|give)\s+any\b"
    r"|\bany of (them|these|those)( \w+)? (is|are|be) (\w+ )?(accept|allow|correct|right|fine|ok)"
    r"|\b(several|multiple|many|more than one)\b[^.]{0,120}\.?\s[^.]{0,60}\bany\b[^.]{0,60}\b(accept|allow)"
    r"|\b(print|output|list)\b[^.]{0,80}\bin (any|arbitrary) order"
    r"|\bnumber of operations\b[^.]*\.\s+(in|on|after|then)\b[^.]*\blines?\b",
    re.IGNORECASE,
)
"""How statements say that they take more than one answer."""


class How(NamedTuple):
    """What the judge must know beside a test. `prefix`: what stands before every program; `opening`: the text of the
    statement that an answer may go on from; `function`: the name that the program must define, if any."""

    task: Task
    prefix: str = ""
    opening: str = ""
    function: str = ""


@dataclass(frozen=True, slots=True)
class Exercise:
    """`right`, `wrong`: programs as the data have them. `split`: where the data put it, if they do. `unjudged`: why its
    answers cannot be judged; empty where they can."""

    name: str
    statement: str
    how: How
    public: tuple[Test, ...] = ()
    hidden: tuple[Test, ...] = ()
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    level: str = ""
    split: Split | None = None
    unjudged: str = ""

    def with_public(self, count: int) -> Exercise:
        """The first `count` hidden tests made public, where there are more of them and none is public yet."""
        if self.public or not 0 < count < len(self.hidden):
            return self
        return replace(self, public=self.hidden[:count], hidden=self.hidden[count:])


def pieces(source: str, call: str) -> tuple[str, ...]:
    """Tests that are code, one a piece: each assertion of the function `check` by itself where there is nothing but
    assertions in it, otherwise the whole with `call` at its end."""
    checks = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    body = [node for node in checks[0].body if not isinstance(node, ast.Pass)] if len(checks) == 1 else []
    if not body or not all(isinstance(node, ast.Assert) for node in body):
        return (f"{source}\n{call}",)
    return tuple(ast.get_source_segment(source, node) or "" for node in body)


def several(statement: str) -> str:
    """Why a problem cannot be judged by the one answer that its tests have; empty where it can."""
    if "interactive problem" in statement:
        return "they are interactive: what is read depends on what was printed"
    return "several answers are right, and there is no judge for them" if SEVERAL.search(statement) else ""


def coded(sources: Sequence[str], how: How) -> tuple[Test, ...]:
    return tuple(Test(source, None, how) for source in sources)
