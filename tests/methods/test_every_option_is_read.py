"""An option that nobody reads is a promise that is not kept: every field of every spec is read somewhere it can act.

This is checked by name in the source. Of the methods it is seen while they train (`test_every_option_acts.py`), of the testbeds
also while they are opened (`tests/testbeds/test_every_option_is_read.py`).
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import preflab
from preflab.spec import Spec

TAGS = {"kind", "schema_version"}  # whoever parses a spec looks at them
ELSEWHERE = ("preflab.methods.",)  # methods are watched while they train
SOURCE = Path(preflab.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


@cache  # a tree is itself, whatever it holds
def reads(tree: ast.AST) -> set[str]:
    """The attributes that a module reads, `x.name` and `getattr(x, "name")`, imported modules' own left out."""
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if alias.name[0].islower()
    }
    attributes: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            if not (isinstance(node.value, ast.Name) and node.value.id in modules):
                attributes.add(node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            attributes |= {argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant)}
    return attributes


@cache
def names(tree: ast.AST) -> set[str]:
    """The names that a module imports."""
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def made(tree: ast.Module) -> set[str]:
    """The classes that a module defines, and the types that it makes of them, such as `Pairings` of `Pairing`."""
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    types = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and classes & {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return classes | types


@cache
def holders(name: str) -> set[str]:
    """The classes with a field of this type, such as `Bench`, whose `spec` is an `Evaluation`."""
    return {
        node.name
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        if name in {part.id for part in ast.walk(field.annotation) if isinstance(part, ast.Name)}
    }


def readers(cls: type[Spec]) -> Iterator[Path]:
    """The modules that could read a spec: its own, those that import it or a class that holds it, and those that know what
    its module makes."""
    own = Path(importlib.import_module(cls.__module__).__file__ or "")
    public = made(TREES[own]) | holders(cls.__name__)
    for path, tree in TREES.items():
        if path == own or names(tree) & public or names(tree) & {own.stem}:
            yield path


def specs() -> list[type[Spec]]:
    """Every spec that acts, found by importing the package, but for those of `ELSEWHERE`."""
    for module in pkgutil.walk_packages(preflab.__path__, "preflab."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    classes: list[type[Spec]] = []
    open_classes: list[type[Spec]] = [Spec]
    while open_classes:
        for cls in open_classes.pop().__subclasses__():
            if (
                cls not in classes
                and cls.__module__.startswith("preflab.")
                and not cls.__module__.startswith(ELSEWHERE)
            ):
                classes.append(cls)
                open_classes.append(cls)
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__name__))


def unread(cls: type[Spec]) -> list[str]:
    classes = [base for base in cls.__mro__ if issubclass(base, Spec) and base is not Spec]
    read = set[str]().union(*(reads(TREES[path]) for base in classes for path in readers(base)))
    return [name for name in cls.model_fields if name not in read | TAGS]


@pytest.mark.parametrize("cls", specs(), ids=lambda cls: f"{cls.__module__.removeprefix('preflab.')}.{cls.__name__}")
def test_every_field_is_read(cls: type[Spec]) -> None:
    """`self.field`, `spec.field` or the like stands in the spec's module or in one that imports it."""
    assert unread(cls) == []


def test_the_check_finds_an_option_that_nobody_reads() -> None:
    """What is only written, or is a function of an imported module, is not read."""
    tree = ast.parse("import torch\nx.written = torch.nowhere\nprint(spec.read, getattr(spec, 'asked'))")
    assert reads(tree) == {"read", "asked"}
    assert made(ast.parse("class A: ...\nB = dict[str, A]\nC = 3")) == {"A", "B"}
