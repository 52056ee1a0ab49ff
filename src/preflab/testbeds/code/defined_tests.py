"""Adds calls to Python test code that defines tests but does not call them.

Test code often only defines its tests, because a test runner calls them. Such tests are functions whose names begin
with `test`, a function `check` with the tested function as its argument, classes of `unittest` or pytest, and the code
in a block `if __name__ == "__main__"`. Without added calls, every program would pass such code. The sandbox does not
contain pytest, so tests that use pytest itself cannot be run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

NEEDS_PYTEST = "its tests need pytest, which the sandbox lacks"
NEEDS_ARGUMENTS = "its tests need arguments that preflab cannot supply"
IS_ASYNCHRONOUS = "its tests are asynchronous, and preflab does not run such tests"
_TEST = "test"
_CHECK = "check"
_CANDIDATE = "candidate"
_CASE = "TestCase"
_MAIN = ("__name__ == '__main__'", "'__main__' == __name__")
_RUNNERS = ("unittest.main()", "main()")
"""Calls that run all test classes of a file. A call is recognised with any arguments."""
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def add_calls(source: str, entry_point: str) -> str:
    """Returns the source with calls added for all tests that the source defines but does not call. `entry_point`: the
    name of the tested function, which becomes the argument of a function `check`. It is empty if the name is not known.
    The source must be valid Python."""
    top = ast.parse(source).body
    body = _unfold_main_blocks(top)
    calls = list_calls(body, entry_point)
    text = source if body == top else "\n".join(map(ast.unparse, body))
    return "\n".join([text, *calls]) if calls else text


def list_calls(body: Sequence[ast.stmt], entry_point: str) -> list[str]:
    """Returns the calls that are missing in test code. The result has one piece of code for each test function that the
    statements do not call, for each `unittest` class, and for each test method of a pytest class."""
    functions, cases = list_test_functions(body), _find_cases(body)
    calls: list[str] = []
    for node in body:
        if isinstance(node, _Function) and node in functions:
            calls.append(f"{node.name}({entry_point if _takes_candidate(node) else ''})")
        elif isinstance(node, ast.ClassDef) and node.name in cases:
            calls.append(f"import unittest\nunittest.TestLoader().loadTestsFromTestCase({node.name}).debug()")
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            calls += _call_methods(node)
    return calls


def explain_unrunnable(body: Sequence[ast.stmt], entry_point: str) -> str:
    """Returns the reason why the tests that the statements define cannot be run. Returns '' if the tests can be run."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    if any(_names_pytest(node) for node in nodes):
        return NEEDS_PYTEST
    functions, cases = list_test_functions(body), _find_cases(body)
    methods = [
        method
        for node in body
        if isinstance(node, ast.ClassDef) and (node.name in cases or node.name.startswith("Test"))
        for method in _list_methods(node)
        if method.name.startswith(_TEST)
    ]
    if any(isinstance(node, ast.AsyncFunctionDef) for node in (*functions, *methods)):
        return IS_ASYNCHRONOUS
    given = [int(bool(entry_point) and _takes_candidate(node)) for node in functions]
    wanting = [_count_required(node) > count for node, count in zip(functions, given, strict=True)]
    return NEEDS_ARGUMENTS if any(wanting) or any(_count_required(node) > 1 for node in methods) else ""


def list_test_functions(body: Sequence[ast.stmt]) -> list[_Function]:
    """Returns the functions that have the name of a test and that are not called. A call inside a function or a class
    does not count, except if the called function needs arguments. A function that needs arguments and is called
    anywhere is a helper, not a test."""
    outside = _find_called_names(node for node in body if not isinstance(node, _Function | ast.ClassDef))
    anywhere = _find_called_names(body)
    return [
        node
        for node in body
        if isinstance(node, _Function)
        and (node.name.startswith(_TEST) or node.name == _CHECK)
        and node.name not in (anywhere if _count_required(node) else outside)
    ]


def _unfold_main_blocks(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """Replaces each block `if __name__ == "__main__"` by the statements in the block. Leaves out statements that start
    a test runner."""
    unfolded: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) in _MAIN:
            unfolded += [each for each in node.body if not _starts_runner(each)]
        else:
            unfolded.append(node)
    return unfolded


def _starts_runner(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    return f"{ast.unparse(node.value.func)}()" in _RUNNERS


def _find_called_names(body: Iterable[ast.stmt]) -> set[str]:
    calls = (each for node in body for each in ast.walk(node) if isinstance(each, ast.Call))
    return {each.func.id for each in calls if isinstance(each.func, ast.Name)}


def _takes_candidate(node: _Function) -> bool:
    """Checks whether the tested function is the only required argument of a test function."""
    names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
    return _count_required(node) == 1 and (node.name == _CHECK or names[:1] == [_CANDIDATE])


def _count_required(node: _Function) -> int:
    """Counts the arguments of a function that have no default."""
    arguments = node.args
    named = sum(default is None for default in arguments.kw_defaults)
    return len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults) + named


def _find_cases(body: Iterable[ast.stmt]) -> set[str]:
    """Returns the names of the classes that are test cases of `unittest`."""
    cases: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            cases |= {node.name} if any(base.endswith(_CASE) or base in cases for base in bases) else set()
    return cases


def _list_methods(node: ast.ClassDef) -> list[_Function]:
    return [each for each in node.body if isinstance(each, _Function)]


def _call_methods(node: ast.ClassDef) -> list[str]:
    """Returns one piece of code for each test method of a pytest class. Each test method is called on a new object, as
    in pytest."""
    methods = _list_methods(node)
    setups = {each.name: _count_required(each) - 1 for each in methods if each.name in ("setup_class", "setup_method")}
    once = [f"{node.name}.setup_class()"] if "setup_class" in setups else []
    before = [f"case.setup_method({', '.join(['None'] * setups['setup_method'])})"] if "setup_method" in setups else []
    tests = [each.name for each in methods if each.name.startswith(_TEST)]
    return ["\n".join([*once, f"case = {node.name}()", *before, f"case.{test}()"]) for test in tests]


def _names_pytest(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] == "pytest" for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == "pytest"
    return isinstance(node, ast.Name) and node.id == "pytest"
