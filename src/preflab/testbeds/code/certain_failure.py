"""Analyses tests that are code, without running the code. Decides whether the tests certainly fail if all functions of
the program return None."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence, Set
from typing import NamedTuple

_PLAIN = (ast.Assign, ast.AnnAssign, ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assert)
"""Statements without branches. After such a statement, either the next statement runs or the test has failed."""
_MAKERS = frozenset(("abs", "dict", "float", "frozenset", "int", "len", "list", "set", "sorted", "str", "tuple"))
"""Built-in functions that never return None."""
_STRICT = (_MAKERS - {"str"}) | {"all", "any", "enumerate", "iter", "max", "min", "ord", "reversed", "round", "sum"}
"""Built-in functions that fail if their first argument is None."""
_DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.JoinedStr)
"""Expressions whose value is never None."""
_OF_NONE = frozenset(dir(None))
"""The names of the attributes of None."""


class _Known(NamedTuple):
    """The facts that are known before a statement runs. `functions`: the names of functions that return None. `nones`:
    the names of variables that are None. `builtins`: the names of built-in functions that the code does not
    redefine."""

    functions: Set[str]
    nones: Set[str]
    builtins: Set[str]


def certainly_fails(source: str, functions: Collection[str], prelude: str = "") -> bool:
    """Checks whether the code of a test certainly fails if all functions named in `functions` return None. `prelude`:
    the code that runs before the test."""
    tree = ast.parse(source)
    nodes = [*ast.walk(tree)]
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    taken = {*stored, *defined, *functions, *re.findall(r"\w+", prelude), *_find_imported_names(nodes)}
    builtins = frozenset() if "import *" in prelude or "*" in taken else _MAKERS | _STRICT
    known = _Known(set(functions) - stored - defined.keys(), frozenset(), builtins - taken)
    return _reaches_failure(tree.body, known, defined)


def _find_imported_names(nodes: Sequence[ast.AST]) -> set[str]:
    return {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def _reaches_failure(body: Sequence[ast.stmt], known: _Known, defined: Mapping[str, ast.FunctionDef]) -> bool:
    """Checks whether the statements certainly fail when they run. The statements also fail if they call a test function
    that fails. `defined`: the functions that the test code defines, by name."""
    nones: set[str] = set()
    for node in body:
        known = known._replace(nones=frozenset(nones))
        if isinstance(node, ast.Assert) and _is_false(node.test, known):
            return True
        if not isinstance(node, _PLAIN):
            return False
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) and node.value is not None:
            if _raises(node.value, known) or (isinstance(node, ast.Assign) and _unpacks_none(node, known)):
                return True
            if isinstance(node, ast.Expr) and _calls_failing_test(node.value, known, defined):
                return True
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)}
            nones = nones | names if node.value is not None and _is_none(node.value, known) else nones - names
    return False


def _calls_failing_test(call: ast.expr, known: _Known, defined: Mapping[str, ast.FunctionDef]) -> bool:
    """Checks whether an expression calls a test function that certainly fails. If all names in the arguments of the
    call are functions that return None, the parameters of the test function count as such functions too."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return False
    test = defined.get(call.func.id)
    if test is None or test.decorator_list:
        return False
    names = {each.arg for each in test.args.args} if call.args else set[str]()
    given = {each.id for each in call.args if isinstance(each, ast.Name)}
    functions = set(known.functions)
    inner = functions | names if given and given <= functions else functions - names
    return _reaches_failure(test.body, known._replace(functions=inner), {})


def _unpacks_none(node: ast.Assign, known: _Known) -> bool:
    """Checks whether an assignment unpacks None, such as `a, b = None`."""
    return _is_none(node.value, known) and any(isinstance(each, ast.Tuple | ast.List) for each in node.targets)


def _is_false(test: ast.expr, known: _Known) -> bool:
    """Checks whether an asserted expression is certainly false or certainly raises an exception."""
    if _is_none(test, known) or _raises(test, known):
        return True
    if isinstance(test, ast.BoolOp):
        decides = any if isinstance(test.op, ast.And) else all
        return decides(_is_false(value, known) for value in test.values)
    if isinstance(test, ast.Compare):
        sides = (test.left, *test.comparators)
        return any(_differs(*link, known) for link in zip(test.ops, sides, sides[1:], strict=False))
    return False


def _differs(operator: ast.cmpop, left: ast.expr, right: ast.expr, known: _Known) -> bool:
    """Checks whether a comparison is certainly false because it compares None with a value that is not None."""
    if not isinstance(operator, ast.Eq | ast.Is):
        return False
    sides = ((left, right), (right, left))
    return any(_is_none(one, known) and _is_value(other, known) for one, other in sides)


def _is_none(node: ast.expr, known: _Known) -> bool:
    """Checks whether an expression is certainly None. Such an expression calls a function that returns None, or is the
    name of a variable that is None."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in known.functions
    return isinstance(node, ast.Name) and node.id in known.nones


def _is_value(node: ast.expr, known: _Known) -> bool:
    """Checks whether the value of an expression is certainly not None."""
    if isinstance(node, _DISPLAYS):
        return True
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in known.builtins & _MAKERS
    try:
        return ast.literal_eval(node) is not None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False


def _raises(node: ast.expr, known: _Known) -> bool:
    """Checks whether an expression certainly raises an exception because it uses None where another value is needed."""
    match node:
        case ast.Call():
            strict = isinstance(node.func, ast.Name) and node.func.id in known.builtins & _STRICT
            if strict and node.args and _is_none(node.args[0], known):
                return True
            parts = [node.func, *node.args, *(each.value for each in node.keywords)]
        case ast.Attribute():
            if _is_none(node.value, known) and node.attr not in _OF_NONE:
                return True
            parts = [node.value]
        case ast.Subscript():
            if _is_none(node.value, known):
                return True
            parts = [node.value, node.slice]
        case ast.Compare():
            parts = [node.left, node.comparators[0]]
        case ast.UnaryOp():
            parts = [node.operand]
        case ast.BinOp():
            parts = [node.left, node.right]
        case ast.BoolOp():
            parts = [node.values[0]]
        case ast.List() | ast.Tuple() | ast.Set():
            parts = node.elts
        case _:
            return False
    return any(_raises(part, known) for part in parts)
