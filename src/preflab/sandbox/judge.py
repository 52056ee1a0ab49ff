"""A program against its problem: runs it test by test, and says what it is.

Two modes. `stdin`: a script; each test is a fresh process in fresh walls, right when it exits with status 0 and printed the
expected text. `call`: a module whose entry point is called once a test, in one process; right when what it returns is the
expected value. A test ends with the first limit that is passed, a program with its first test that fails.

A failure of the machine is no wrong answer: it is tried again, and then the verdict is `error`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from preflab.sandbox import wire
from preflab.sandbox.bubblewrap import CALLED, SCRIPT, Bubblewrap
from preflab.sandbox.compare import same_text, same_value
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import Box, NotStarted, opened
from preflab.sandbox.usage import Group
from preflab.types import Test, Verdict

Outcome = Literal[
    "passed",
    "failed",
    "timeout",
    "memory",
    "output-limit",
    "runtime-error",
    "compile-error",
    "forbidden",
    "error",
]
SYSTEM_CALL = -31  # the signal of a filtered system call
UNCOMPILED = ("SyntaxError:", "IndentationError:", "TabError:")
TRIES = 3
SHOWN = 2000


class Task(NamedTuple):
    """What a program must do. `mode`: stdin or call; `entry_point`: the name that is called; a test's input is text, or the
    arguments as a list."""

    mode: Literal["stdin", "call"]
    tests: Sequence[Test]
    entry_point: str = ""
    limits: Limits = Limits()


class Found(NamedTuple):
    """What came of one test; `got`: what the program printed or returned, in words."""

    outcome: Outcome
    got: str = ""


class Judge:
    """`walls` opened; `group`: a control group to measure in, one for each thread that judges."""

    def __init__(self, walls: Bubblewrap, group: Group | None = None) -> None:
        self.walls, self.group = walls, group

    def judge(self, source: str, task: Task) -> Verdict:
        """The verdict. `passed` says for each test whether it was passed; those after the first failure were not run."""
        try:
            code = source.encode()
        except UnicodeEncodeError:
            return failure("compile-error", task.tests, 0, "the source is no UTF-8 text")
        trouble = ""
        for _ in range(TRIES):
            try:
                return self._judge(code, task)
            except NotStarted as error:
                trouble = str(error)
        return failure("error", task.tests, 0, trouble)

    def _judge(self, code: bytes, task: Task) -> Verdict:
        run = self._call if task.mode == "call" else self._script
        for number, (test, found) in enumerate(zip(task.tests, run(code, task), strict=True)):
            if found.outcome != "passed":
                return failure(found.outcome, task.tests, number, found.got, test)
        return Verdict("passed", (True,) * len(task.tests))

    def _script(self, code: bytes, task: Task) -> Iterator[Found]:
        for test in task.tests:
            with self._box(SCRIPT, code, task.limits, test.input.encode()) as box:
                box.finish()
                yield printed(box, test)

    def _call(self, code: bytes, task: Task) -> Iterator[Found]:
        with self._box((*CALLED, task.entry_point), code, task.limits, None) as box:
            for test in task.tests:
                answer = box.ask(wire.encode(test.input).encode("ascii") + b"\n")
                if answer is None and not box.over:
                    box.finish()
                yield returned(box, answer, test)

    def _box(self, run: Sequence[str], code: bytes, limits: Limits, stdin: bytes | None) -> Any:
        return opened(self.walls, run, code, limits, group=self.group, stdin=stdin)


def printed(box: Box, test: Test) -> Found:
    """Of a script that has ended."""
    stopped = broken(box)
    if stopped is not None:
        return stopped
    try:
        text = box.output.decode()
    except UnicodeDecodeError:
        return Found("failed", "the output is no UTF-8 text")
    return Found("passed" if same_text(test.output, text) else "failed", text)


def returned(box: Box, answer: bytes | None, test: Test) -> Found:
    """Of a call that was answered, or not."""
    if answer is None:
        return broken(box) or Found("runtime-error", "the program ended before it answered")
    try:
        value = wire.decode(answer)
    except wire.Foreign as error:
        return Found("failed", str(error))
    return Found("passed" if same_value(test.output, value) else "failed", answer.decode(errors="replace"))


def broken(box: Box) -> Found | None:
    """What kept a program from answering, or None. Standard error only chooses among names for failing."""
    if box.over:
        return Found(box.over)
    if box.code == 0:
        return None
    told = bytes(box.errors).decode(errors="replace").strip()
    last = told.rpartition("\n")[2]
    if box.code == SYSTEM_CALL:
        return Found("forbidden", "a system call that the sandbox does not allow")
    if last.startswith("MemoryError"):
        return Found("memory", last)
    return Found("compile-error" if last.startswith(UNCOMPILED) else "runtime-error", told or f"status {box.code}")


def failure(outcome: Outcome, tests: Sequence[Test], number: int, got: str, test: Test | None = None) -> Verdict:
    """The verdict of a program that did not pass test `number`."""
    detail: dict[str, Any] = {"got": got[:SHOWN]}
    if test is not None:
        detail = {"test": number, "input": test.input, "expected": test.output, **detail}
    return Verdict(outcome, tuple(index < number for index in range(len(tests))), detail)
