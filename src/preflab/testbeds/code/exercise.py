"""What a record of a programming data set becomes: a statement, public and hidden tests, and programs that come with it."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from preflab.sandbox.answer import Recipe
from preflab.sandbox.compare import OutputComparison
from preflab.types import Split, Test

_SEVERAL = re.compile(
    r"(?<!not )(?<!n't )\b(print|output|report|return|find|give) (any|one of (them|these|those))\b"
    r"|\bwhichever you (like|want|prefer)\b|\b(choose|pick) any( one)?([.,;]|$)"
    r"|\bany of (them|these|those)( \w+)? (is|are|be) (\w+ )?(accept|allow|correct|right|fine|ok)"
    r"|\bany (\w+ )?(answer|solution|output)s? (is|are|will be|would be) (accept|allow|correct|right|fine|ok)"
    r"|\b(several|multiple|many|more than one)\b[^.]{0,120}\.?\s[^.]{0,60}\bany\b[^.]{0,60}\b(accept|allow)"
    r"|\b(print|output|return|answer)\b[^.]{0,80}\bin (any|arbitrary) order"
    r"|\bnumber of operations\b[^.]*\.\s+(in|on|after|then)\b[^.]*\blines?\b",
    re.IGNORECASE,
)
"""How statements say that they take more than one answer."""
_INTERACTIVE_WORDS = re.compile(r"\binteractive (problem|task)\b|\b(problem|task) is interactive\b", re.IGNORECASE)
"""How statements say that the program exchanges messages with the judge."""
MANY = "several answers are right, and there is no judge for them"
UNSAID = "several answers are right, which the statement does not say"
_INTERACTIVE = "what is read depends on what was printed (interactive)"
TESTLESS = "there are no hidden tests"
BY_FILE = "it reads or writes a file of its own"
_FEW = "there are too few tests for some to be public"
_CASELESS = re.compile(
    r"\bletters?\b[^.]{0,40}\b(any|either) case\b"
    r"|\b(print|output|answer)\b[^.]{0,80}\b(any|either) case\b"
    r"|\(case[- ]insensitive\)|\b(print|output|answer)\b[^.]{0,80}\bcase[- ]insensitive",
    re.IGNORECASE,
)
"""How statements say that upper and lower case are alike in the answer."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """`right`, `wrong`: programs that the data call so. `split`: the split that the data put the problem into, if they do.
    `unjudged`: why its answers cannot be judged; empty where they can."""

    name: str
    statement: str
    recipe: Recipe
    public: tuple[Test, ...] = ()
    hidden: tuple[Test, ...] = ()
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    level: str = ""
    split: Split | None = None
    unjudged: str = ""

    @property
    def tests(self) -> tuple[Test, ...]:
        return (*self.public, *self.hidden)

    def with_public(self, count: int) -> Exercise:
        """Makes the first `count` hidden tests public, where none is; where that leaves none hidden, it is `unjudged`."""
        if self.public or not count:
            return self
        if len(self.hidden) <= count:
            return replace(self, unjudged=self.unjudged or _FEW)
        return replace(self, public=self.hidden[:count], hidden=self.hidden[count:])


def split_checks(source: str) -> tuple[str, ...]:
    """Tests that are code. Where the function `check` holds nothing but assertions, each of them is a test, behind what stands
    beside that function; otherwise the whole source is one test, with a call of that function at its end."""
    top = ast.parse(source).body
    checks = [node for node in top if isinstance(node, ast.FunctionDef) and node.name == "check"]
    body = [node for node in checks[0].body if not isinstance(node, ast.Pass)] if len(checks) == 1 else []
    if not body or not all(isinstance(node, ast.Assert) for node in body):
        return (f"{source}\ncheck(candidate)",)
    beside = "".join(f"{ast.unparse(node)}\n" for node in top if node is not checks[0])
    return tuple(beside + (ast.get_source_segment(source, node) or "") for node in body)


def explain_several(statement: str) -> str:
    """Why a problem cannot be judged by the one answer that its tests have; empty where it can."""
    if _INTERACTIVE_WORDS.search(statement):
        return _INTERACTIVE
    return MANY if _SEVERAL.search(" ".join(statement.split())) else ""


def choose_comparison(statement: str) -> OutputComparison:
    """How the output of a program is compared, which follows from the statement."""
    return "caseless" if _CASELESS.search(statement) else "tokens"


def make_code_tests(sources: Sequence[str], recipe: Recipe) -> tuple[Test, ...]:
    return tuple(Test(source, None, recipe) for source in sources)
