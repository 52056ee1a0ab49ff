"""What a record of a programming data set becomes: a statement, public and hidden tests, and programs that come with it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from preflab.sandbox.answer import Recipe
from preflab.types import Split, Test

TESTLESS = "there are no hidden tests"
BY_FILE = "it reads or writes a file of its own"
_FEW = "there are too few tests for some to be public"


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


def make_code_tests(sources: Sequence[str], recipe: Recipe) -> tuple[Test, ...]:
    return tuple(Test(source, None, recipe) for source in sources)
