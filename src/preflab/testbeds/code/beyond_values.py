"""Finds tests that cannot work because they need more than plain values from the judged program.

The tests and the program exchange only calls and plain values. Exceptions, and objects of the program's own classes,
never reach the tests. A right program would therefore fail tests that need such exceptions or objects.
"""

from __future__ import annotations

import ast
import collections
import datetime
from collections.abc import Collection, Sequence
from decimal import Decimal
from fractions import Fraction

EXPECTS_EXCEPTION = "its tests expect exceptions, which do not reach the tests"
USES_OBJECTS = "its tests use objects of the program's classes, which do not reach the tests"
_PLAIN_TYPES = (int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, Decimal, Fraction)
_LIBRARY_TYPES = (collections.deque, collections.Counter, collections.OrderedDict, collections.defaultdict)
_DATES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
_KNOWN = {name for each in (*_PLAIN_TYPES, *_LIBRARY_TYPES, *_DATES) for name in dir(each)}
"""The names of the attributes of all values that can pass between the tests and the program."""


def explain_beyond_values(body: Sequence[ast.stmt], functions: Collection[str]) -> str:
    """Returns the reason why right programs would fail the tests in these statements. Returns '' if there is no such
    reason. `functions`: the names by which the tests call the program's functions."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    if any(expects_exception(statement, functions) for statement in body):
        return EXPECTS_EXCEPTION
    assigned = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _calls_program(node.value, functions)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    objects = (node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr not in _KNOWN)
    used = any(
        _calls_program(value, functions) or (isinstance(value, ast.Name) and value.id in assigned) for value in objects
    )
    return USES_OBJECTS if used else ""


def _calls_program(node: ast.AST, functions: Collection[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions


def expects_exception(tree: ast.AST, functions: Collection[str]) -> bool:
    """Checks whether tests expect the program to raise an exception. Such tests use `assertRaises` or `suppress`, or
    call the program inside a `try` statement whose `except` clause accepts the exception."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr.startswith("assertRaises") or node.attr == "suppress"):
            return True
        if isinstance(node, ast.Try) and any(map(_accepts, node.handlers)):
            inside = (each for part in node.body for each in ast.walk(part))
            if any(_calls_program(each, functions) for each in inside):
                return True
    return False


def _accepts(handler: ast.ExceptHandler) -> bool:
    """Checks whether a test can continue after an `except` clause has caught an exception of the program. The test
    cannot continue if the clause catches only `AssertionError`, or if the code in the clause fails the test."""
    if handler.type is not None and ast.unparse(handler.type) == "AssertionError":
        return False
    return not any(map(_fails, handler.body))


def _fails(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and not node.test.value
    return isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and ".fail(" in ast.unparse(node))
