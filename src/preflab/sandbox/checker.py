"""Runs tests that are code in a separate sandbox, where a stand-in takes the place of the program.

The program runs in another sandbox. The stand-in sends each call to the judge, the judge passes the call to the
program, and the stand-in returns the value that comes back. The tests therefore compare plain data and nodes of their
own classes, and the program never shares a process with the tests. The judge receives three kinds of lines: `call` with
a request for the program, `passed`, and `failed` with a reason. `wire` encodes the request and the reason.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.sandbox import wire
from preflab.sandbox.line import JudgeLine


def run_tests(path: str) -> None:
    """Runs the tests of the job in the file `path`. Each test starts when the judge writes a line."""
    line = JudgeLine()
    job = json.loads(Path(path).read_text())
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
    """Returns the stand-in for a function of the program."""

    def call(*arguments: Any, **named: Any) -> Any:
        line.write(f"call {wire.encode([function, list(arguments), named], classes)}")
        answer = next(iter(line))
        try:
            return wire.rebuild(wire.decode(answer), classes)
        except Exception as error:  # if the test saw this exception, it could take it for the program's own exception
            os.write(2, f"{type(error).__name__}: {error}".encode())
            os._exit(1)

    return call


def _make_stand_in(name: str) -> type:
    """Returns the stand-in for a class that only the program has. The stand-in's objects hold the arguments with which the
    program will make the real objects."""

    def __init__(self: Any, *arguments: Any) -> None:
        self.__dict__[wire.NODE_ARGUMENTS] = arguments

    return type(name, (), {"__init__": __init__})


if __name__ == "__main__":
    run_tests(*sys.argv[1:])
