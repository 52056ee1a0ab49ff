"""Runs inside the sandbox: imports the program, and calls one of the program's functions for each line from the judge.

The judge writes a line, `[function, arguments, named arguments]`, and waits for a line with the value. The judge does
not trust this process: every line from this process is an answer, never a verdict.
"""

from __future__ import annotations

import sys
from _collections_abc import Callable
from types import ModuleType

from preflab.sandbox import wire
from preflab.sandbox.line import JudgeLine
from preflab.sandbox.plain_json import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


def answer_calls(path: str, *nodes: str) -> None:
    """Answers the judge's calls. `nodes`: the names of the program's classes whose objects may be sent to and from the
    judge."""
    line = JudgeLine()
    module = sys.modules["solution"] = ModuleType("solution")  # dataclasses look up their module in `sys.modules`
    module.__file__ = path
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec", dont_inherit=True), module.__dict__)
    classes = {name: getattr(module, name) for name in nodes if hasattr(module, name)}
    functions: dict[str, Callable[..., Any]] = {}
    for request in line:
        name, arguments, named = wire.rebuild(wire.decode(request), classes)
        if name not in functions:
            functions[name] = _find_function(module, name)
        value = functions[name](*arguments, **named)
        try:
            line.write(wire.encode(value, classes))
        except wire.Foreign as error:
            raise SystemExit(f"TypeError: the returned value cannot be sent to the judge: {error}") from None


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    """Returns the function of the module that is called `name`. If `name` is `Class.method`, returns the method of a
    new object of this class. If the module does not define the function, returns the method of the class `Solution`,
    because programming competitions use this class. A function that the module only imports does not count as
    defined."""
    owner, _, method = name.rpartition(".")
    own = getattr(getattr(module, name, None), "__module__", "") == module.__name__
    if not owner and not own and hasattr(getattr(module, "Solution", None), name):
        owner = "Solution"
    return getattr(getattr(module, owner)() if owner else module, method)
