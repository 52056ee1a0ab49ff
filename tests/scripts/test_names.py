"""The four lists of `scripts/names.py`, each on a tree of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def names(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("names")


def tree(names: ModuleType, source: Path, **texts: str) -> dict[str, object]:
    """The modules of a tree; `a__b` is the file `a/b.py`."""
    for name, text in texts.items():
        path = source / f"{name.replace('__', '/', 1)}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return names.read_tree(source)


def test_names_twice(names: ModuleType, tmp_path: Path) -> None:
    """Classes, functions, constants and aliases count, below `if` and in a tuple too; imports, private names, `__all__`,
    methods and nested functions do not."""
    modules = tree(
        names,
        tmp_path,
        a="__all__ = []\nclass Run: ...\nONE, TWO = 1, 2\n_own = 3\nAlias: object = int\ndef f():\n    def go(): ...\n",
        b="from preflab.a import Alias, f\n__all__ = []\nif True:\n    Run = 1\nTWO = 3\n_own = 4\n"
        "class B:\n    def f(self): ...\n",
        c="def go(): ...\n",
    )
    assert names.twice(modules) == ["Run: a.py:2, b.py:4", "TWO: a.py:3, b.py:5"]


RECORDS = """
from pydantic import BaseModel
class Row(BaseModel):
    kind: str
    low: float
    high: float
    df: float
class Child(Row):
    more: int
class Plain:
    low: float
    high: float
    df: float
class Method(BaseModel): ...
class First(Method):
    rate: float
    steps: int
    size: int
"""
OTHERS = """
import dataclasses
from typing import ClassVar, NamedTuple
from preflab import a as records
from preflab.a import Method
@dataclasses.dataclass(frozen=True)
class Span:
    low: float
    high: float
    df: float
    seeds: int
    runs: int
class Few(NamedTuple):
    kind: str
    low: float
    high: float
    df: ClassVar[float]
class Wide(NamedTuple):
    low: float
    high: float
    df: float
    a: int
    b: int
    c: int
class Heir(records.Row):
    own: int
class Second(Method):
    rate: float
    steps: int
    size: int
"""


def test_similar_records(names: ModuleType, tmp_path: Path) -> None:
    """low, high and df are all three fields of Row (its tag `kind` does not count), 3 of the 4 of Child and of Heir, 3 of
    Span's 5 and 3 of Wide's 6: more than half of the smaller record of each pair below. What Row's children share is
    defined once. Few has 2 of the fields, Plain is not a record, and two methods may be alike.
    """
    modules = tree(names, tmp_path, a=RECORDS, b=OTHERS)
    rows, others = ("a.py:Child", "a.py:Row", "b.py:Heir"), ("b.py:Span", "b.py:Wide")
    expected = {f"{' and '.join(sorted((row, other)))}: low, high, df" for row in rows for other in others}
    assert set(names.similar(modules, {})) == expected | {"b.py:Span and b.py:Wide: low, high, df"}
    alike = {("a.py:Row", "b.py:Span"): "why", ("a.py:Row", "b.py:Few"): "not needed"}
    lines = names.similar(modules, alike)
    assert set(lines[:-1]) == {*expected, "b.py:Span and b.py:Wide: low, high, df"} - {
        "a.py:Row and b.py:Span: low, high, df"
    }
    assert lines[-1] == "a.py:Row and b.py:Few: in ALIKE, but they are not similar"


def test_guesses_about_protocols(names: ModuleType, tmp_path: Path) -> None:
    """Every way to guess is listed with its line, but for what is allowed; an entry that allows nothing is listed too."""
    text = """
getattr(reward, "deterministic", True)
hasattr(model, "peft_config")
vars(x), x.__dict__
try:
    x.open()
except (ValueError, AttributeError):
    pass
x.getattr(1)
"""
    allowed = {"a model": {"a.py": ("hasattr(model, 'peft_config')", "hasattr(model, 'gone')")}}
    assert names.guesses(tree(names, tmp_path, a=text), allowed) == [
        "a.py:2: getattr(reward, 'deterministic', True)",
        "a.py:4: vars(x)",
        "a.py:4: x.__dict__",
        "a.py:7: except (ValueError, AttributeError)",
        "a.py: `hasattr(model, 'gone')` is in ALLOWED, but is not there",
    ]


def test_circles_of_packages(names: ModuleType, tmp_path: Path) -> None:
    """cli -> study -> (by name) cli, and study -> report -> (for type checking) study; ops is imported and imports nothing.
    Imports inside a package are not a circle."""
    modules = tree(
        names,
        tmp_path,
        cli="from preflab.study.run import go\n",
        study__run="from preflab import report, ops\nimport importlib\nimportlib.import_module('preflab.cli')\n",
        study__go="from preflab.study.run import x\n",
        report="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import preflab.study.go\n",
        ops="",
        theory="import importlib\nimportlib.import_module(f'preflab.ops.{name}')\n",
    )
    assert names.circles(modules) == [
        "cli -> study (cli.py:1); study -> report (study/run.py:1); report -> study (report.py:3); "
        "study -> cli (study/run.py:3)",
        "cli -> study (cli.py:1); study -> cli (study/run.py:3)",
        "report -> study (report.py:3); study -> report (study/run.py:1)",
    ]
