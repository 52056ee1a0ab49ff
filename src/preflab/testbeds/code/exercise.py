"""Defines `Exercise`, the common form of programming problems: a statement, public and hidden tests, and programs from
the data."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from preflab.sandbox.answer import Recipe
from preflab.types import Split, Test

TESTLESS = "there are no hidden tests"
BY_FILE = "the program must read or write a named file"
_FEW = "there are too few tests to make some of them public"


@dataclass(frozen=True, slots=True)
class Exercise:
    """A programming problem. `right`, `wrong`: programs that the data label as right or wrong. `split`: the split that
    the data assign to the problem, or None if the data assign no split. `unjudged`: the reason why answers to the
    problem cannot be judged, or '' if they can be judged."""

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
        """Returns the exercise with its first `count` hidden tests made public. An exercise that already has public
        tests stays unchanged. An exercise with at most `count` hidden tests is marked as `unjudged` instead, because it
        would have no hidden tests left."""
        if self.public or not count:
            return self
        if len(self.hidden) <= count:
            return replace(self, unjudged=self.unjudged or _FEW)
        return replace(self, public=self.hidden[:count], hidden=self.hidden[count:])


def split_checks(source: str) -> tuple[str, ...]:
    """Splits the source of tests into single tests. If the function `check` contains only assertions, each assertion
    becomes a test that begins with the code outside `check`. Any other source becomes one test that ends with a call of
    `check`. Raises `ValueError` if the source has no function `check`."""
    top = ast.parse(source).body
    checks = [node for node in top if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not checks:
        raise ValueError("`test` defines no function `check`")
    body = [node for node in checks[0].body if not isinstance(node, ast.Pass)] if len(checks) == 1 else []
    if not body or not all(isinstance(node, ast.Assert) for node in body):
        return (f"{source}\ncheck(candidate)",)
    beside = "".join(f"{ast.unparse(node)}\n" for node in top if node is not checks[0])
    return tuple(beside + (ast.get_source_segment(source, node) or "") for node in body)


def make_code_tests(sources: Sequence[str], recipe: Recipe) -> tuple[Test, ...]:
    return tuple(Test(source, None, recipe) for source in sources)
