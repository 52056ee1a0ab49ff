"""Reads tests that are Python code, and finds the functions of a program that these tests call.

Tests may import these functions from the module `solution`. If they do not, the functions are the names that the tests
use but do not define.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator, Sequence

PROGRAM_MODULE = "solution"
"""The name of the module from which tests import the functions of the program."""
IMPORTS_WHOLE = "its tests import the program as a module"


class ProgramImports(ast.NodeTransformer):
    """Changes the code of tests: removes every statement that imports functions of the program. `functions`: maps the
    name of each imported function in the tests to its name in the program. `whole`: whether a test imports the program
    as a module."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.whole = False

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module != PROGRAM_MODULE:
            return node
        self.functions |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name != "*"}
        return ast.copy_location(ast.Pass(), node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.whole |= any(alias.name == PROGRAM_MODULE for alias in node.names)
        return node


def find_tested_functions(sources: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the program's functions that the tests use. Tests use a function if they call it, or if they
    pass it to a function outside the program, such as `map`. Python's builtins do not count, and functions that the
    tests define do not count. If no function remains (`assert sum(1, 2) == 3`), returns the builtin that is called
    first, because the program must redefine this builtin."""
    free = _find_free_names(sources)
    nodes = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    called = [node.func.id for node in nodes if isinstance(node.func, ast.Name) and node.func.id in free]
    own = [name for name in called if name not in dir(builtins)]
    given = [name for node in nodes for name in _list_given(node) if name in free and name not in dir(builtins)]
    inner = {
        name for node in nodes if isinstance(node.func, ast.Name) and node.func.id in own for name in _list_given(node)
    }
    names = [*own, *(name for name in given if name not in inner or name in own)]
    return tuple(dict.fromkeys(names)) or tuple(called[:1])


def _find_free_names(sources: Sequence[str]) -> set[str]:
    """Returns the global names that at least one test reads, inside or outside of functions. Leaves out every name that
    one of the tests defines or imports at module level."""
    tops = [symtable.symtable(source, "tests", "exec") for source in sources]
    defined = {
        each.get_name() for top in tops for each in top.get_symbols() if each.is_assigned() or each.is_imported()
    }
    read: set[str] = set()
    for top in tops:
        read |= {each.get_name() for each in top.get_symbols() if each.is_referenced()}
        for table in _walk_tables(top):
            symbols = [each for each in table.get_symbols() if each.is_global()]
            read |= {each.get_name() for each in symbols if each.is_referenced()}
            defined |= {each.get_name() for each in symbols if each.is_assigned()}
    return read - defined


def _walk_tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _walk_tables(child)


def _list_given(call: ast.Call) -> list[str]:
    """Returns the names that occur as arguments of a call."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    return [value.id for value in values if isinstance(value, ast.Name)]
