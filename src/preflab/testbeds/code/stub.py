"""Finds problems whose tests do not test: a program that does nothing passes them all, or they fail without a program.

The program that does nothing, the stub, is run against the tests. It is not run where it certainly fails, because a test
compares the value that the tested function returns with a value, and the stub returns None.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from preflab.sandbox.answer import Recipe
from preflab.sandbox.compare import same_text
from preflab.sandbox.judging import UNJUDGED, Judge
from preflab.sandbox.values import same_answer
from preflab.sandbox.verdict import TESTS_FAIL, ProgramTask
from preflab.types import Problem, Test, Verdict

PASSES_ALL = "an empty program passes all its tests"
FAILS_ALONE = "its tests fail before they call the program"
_LIMITS = ("timeout", "memory", "output-limit")  # these may be the machine's fault
_PLAIN = (ast.Assign, ast.AnnAssign, ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assert)
"""Statements that run to their end or fail. The statement after one of them is therefore run, or the test fails."""


def find_untested(problems: Iterable[Problem], judge: Judge) -> dict[str, str]:
    """Returns a mapping from the ids of the problems whose tests do not test to the reason."""
    found: dict[str, str] = {}
    doubtful: list[tuple[str, Sequence[Test]]] = []
    for problem in {each.id: each for each in problems}.values():
        tests = (*problem.public_tests, *problem.hidden_tests)
        known = [_is_passed_by_stub(test) for test in tests]
        if all(known):
            found[problem.id] = PASSES_ALL
        elif False not in known:
            doubtful.append((problem.id, tests))
    verdicts = judge.judge_once([(write_stub(tests[0].how), tests) for _, tests in doubtful])
    reasons = {name: _explain(verdict) for (name, _), verdict in zip(doubtful, verdicts, strict=True)}
    return found | {name: reason for name, reason in reasons.items() if reason}


def write_stub(recipe: Recipe) -> str:
    """Returns a program that defines what the tests call, but does nothing."""
    functions = [f"def {name}(*_, **__): pass" for name in recipe.task.functions.values() if name.isidentifier()]
    classes = [f"class {name}:\n    def __init__(self, *_, **__): pass" for name in recipe.task.nodes]
    return "\n".join([*functions, *classes]) or "pass"


def _explain(verdict: Verdict) -> str:
    if verdict.correct:
        return PASSES_ALL
    got = str(verdict.detail.get("got", ""))
    alone = verdict.outcome == UNJUDGED and got.startswith(TESTS_FAIL)
    return FAILS_ALONE if alone and got.removeprefix(TESTS_FAIL) not in _LIMITS else ""


def _is_passed_by_stub(test: Test) -> bool | None:
    """Returns whether the stub passes the test; None if only a run can show it."""
    task: ProgramTask = test.how.task
    if task.special:
        return None
    if task.mode == "stdin":
        return same_text(test.output, "", task.compare)
    if task.mode == "call":
        return same_answer(test.output, None, task.compare_values)
    return False if _surely_fails(test.input, set(task.functions)) else None


def _surely_fails(source: str, functions: set[str]) -> bool:
    """Checks whether code that calls these functions of a program fails if the functions return None."""
    tree = ast.parse(source)
    nodes = [*ast.walk(tree)]
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    defined = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    return _reaches_comparison(tree.body, functions - stored - defined.keys(), defined)


def _reaches_comparison(body: Sequence[ast.stmt], functions: set[str], defined: dict[str, ast.FunctionDef]) -> bool:
    """Checks whether the statements, or a test that they call, certainly assert that a function returns some value."""
    for node in body:
        if isinstance(node, ast.Assert) and _compares(node.test, functions):
            return True
        if not isinstance(node, _PLAIN):
            return False
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            test = defined.get(node.value.func.id)
            if test and not test.decorator_list:
                names = {each.arg for each in test.args.args} if node.value.args else set[str]()
                given = {each.id for each in node.value.args if isinstance(each, ast.Name)}
                inner = functions | names if given and given <= functions else functions - names
                if _reaches_comparison(test.body, inner, {}):
                    return True
    return False


def _compares(test: ast.expr, functions: set[str]) -> bool:
    """Checks whether an expression compares what a function returns with a value that is not None."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    calls = [
        isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id in functions for side in sides
    ]
    return any(call and _is_value(other) for call, other in zip(calls, reversed(sides), strict=True))


def _is_value(node: ast.expr) -> bool:
    try:
        return ast.literal_eval(node) is not None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
