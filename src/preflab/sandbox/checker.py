"""Runs tests that consist of Python code. In their sandbox, stand-ins replace the functions of the program.

The program runs in another sandbox and never shares a process with the tests. A stand-in sends each call to the judge.
The judge passes the call to the program and returns the program's value to the stand-in, which returns the value to the
test. The tests therefore compare only plain data, and objects of the problem's own classes. The judge receives three
kinds of lines: `call` with a request for the program, `passed`, and `failed` with a reason. The module `wire` encodes
the request and the reason.
"""

from __future__ import annotations

import os
from _collections_abc import Callable

from preflab.sandbox import wire
from preflab.sandbox.line import JudgeLine
from preflab.sandbox.plain_json import TYPE_CHECKING, decode_json

if TYPE_CHECKING:
    from typing import Any


def run_tests(path: str) -> None:
    """Runs the tests that the JSON file `path` describes. Each test starts when the judge writes a line."""
    line = JudgeLine()
    with open(path, "rb") as file:
        job = decode_json(file.read())
    space: dict[str, Any] = {"__name__": "tests"}
    exec(compile(job["prelude"], "prelude", "exec"), space)
    classes = {name: space.setdefault(name, _make_stand_in(name)) for name in job["nodes"]}
    space |= {name: _make_caller(function, line, classes) for name, function in job["functions"].items()}
    next(iter(line))
    for test in job["tests"]:
        try:
            exec(compile(test, "test", "exec"), space)
        except Exception as error:
            line.write(f"failed {wire.encode(f'{type(error).__name__}: {error}')}")
        else:
            line.write("passed")
        next(iter(line))


def _make_caller(function: str, line: JudgeLine, classes: dict[str, type]) -> Callable[..., Any]:
    """Returns a stand-in for a function of the program. The stand-in sends each call to the judge and returns the
    answer."""

    def call(*arguments: Any, **named: Any) -> Any:
        line.write(f"call {wire.encode([function, list(arguments), named], classes)}")
        answer = next(iter(line))
        try:
            return wire.rebuild(wire.decode(answer), classes)
        except Exception as error:  # not raised, because a test could take it for an exception of the program
            os.write(2, f"{type(error).__name__}: {error}".encode())
            os._exit(1)

    return call


def _make_stand_in(name: str) -> type:
    """Returns a stand-in for a class that only the program defines. An object of the stand-in stores its arguments,
    with which the program later makes the real object."""

    def __init__(self: Any, *arguments: Any) -> None:
        self.__dict__[wire.NODE_ARGUMENTS] = arguments

    return type(name, (), {"__init__": __init__})
