"""A program against its problem: runs it test by test, and says what it is.

Three modes. `stdin`: a script; each test is a fresh process in fresh walls, right when it exits with status 0 and printed
the expected text. `call`: a module whose entry point is called once a test, in one process; right when what it returns is
the expected value. `check`: a module whose functions are called by tests that are code; these run in a second sandbox, and
only calls and plain values cross. A test ends with the first limit that is passed, a program with its first failing test.

A failure of the machine is no wrong answer: it is tried again, and then the verdict is `error`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from preflab.sandbox import wire
from preflab.sandbox.compare import Comparison, same_text, same_value
from preflab.sandbox.groups import Group
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import Box, NotStarted, opened
from preflab.sandbox.walls import CALLED, CHECKED, SCRIPT, Walls
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
PAUSE = 0.1
"""Seconds before the machine is asked again."""
IDLE = 0.2
"""Seconds that each test of a program may wait beside others; together they may also wait as long as one may."""
SHOWN = 2000
LONGEST = 1 << 20
"""Bytes of a source at most."""
ANSWER = 4 << 20
"""Bytes of a returned value at most, and how many lists, tuples, sets and dictionaries may be in it: reading it is the judge's
own work."""
CONTAINERS = 200_000
WORDY = 16
"""Who prints so many times what is expected is wrong without being read."""
TOLD = (b"right", b"wrong")


class Task(NamedTuple):
    """What a program must do. A test's `input` is text for `stdin`; for `call`, the arguments of `entry_point`; for `check`,
    a piece of Python that raises unless the test is passed.

    `compare`: how printed text is compared; `special`: the source of a program that decides instead (it reads a JSON object of
    `input`, `expected`, `output`, and prints `right` or `wrong`). `unwrap`: an expected list of one may also stand for what is
    in it. `every`: tests go on after the first failure, as far as the program lives.
    `unjudged`: why there can be no verdict; empty where there can.

    Of `check`: `prelude` runs before the tests; `functions` are the names there and what they are called in the program;
    `nodes` are the classes whose objects may cross.
    """

    mode: Literal["stdin", "call", "check"]
    tests: Sequence[Test] = ()
    entry_point: str = ""
    limits: Limits = Limits()
    compare: Comparison = "lines"
    special: str = ""
    unwrap: bool = False
    every: bool = False
    unjudged: str = ""
    prelude: str = ""
    functions: Mapping[str, str] = {}
    nodes: Sequence[str] = ()


class Found(NamedTuple):
    """What came of one test; `got`: what the program printed or returned, in words; `idle`: seconds that it waited."""

    outcome: Outcome
    got: str = ""
    idle: float = 0.0


class Judge:
    """`walls` opened; `groups`: two control groups to measure in, the program's and the tests', for each thread that judges."""

    def __init__(self, walls: Walls, groups: tuple[Group | None, Group | None] = (None, None)) -> None:
        self.walls, self.groups = walls, groups

    def judge(self, source: str, task: Task) -> Verdict:
        """The verdict. `passed` says for each test whether it was passed; one that was not run was not."""
        try:
            code = source.encode()
        except UnicodeEncodeError:
            return failure(Found("compile-error", "the source is no UTF-8 text"), [False] * len(task.tests))
        if len(code) > LONGEST:
            return failure(
                Found("compile-error", f"the source has more than {LONGEST:,} bytes"), [False] * len(task.tests)
            )
        if task.unjudged:
            return failure(Found("error", task.unjudged), [False] * len(task.tests))
        trouble = ""
        for _ in range(TRIES):
            try:
                return self._judge(code, task)
            except (NotStarted, OSError) as error:  # of ours: what the program does never raises here
                trouble = str(error)
                time.sleep(PAUSE)
        return failure(Found("error", trouble), [False] * len(task.tests))

    def _judge(self, code: bytes, task: Task) -> Verdict:
        run = {"stdin": self._script, "call": self._call, "check": self._check}[task.mode]
        failed: tuple[int, Found] | None = None
        passed = [False] * len(task.tests)
        patience = task.limits.wall_s + IDLE * len(task.tests)
        for number, found in enumerate(run(code, task)):
            patience -= found.idle
            if patience < 0 and found.outcome == "passed":
                found = Found("timeout", "its tests together wait too long")
            passed[number] = found.outcome == "passed"
            failed = failed or (None if passed[number] else (number, found))
            if patience < 0 or (failed and not task.every):
                break
        if failed is None:
            return Verdict("passed", tuple(passed))
        number, found = failed
        return failure(found, passed, number, task.tests[number])

    def _script(self, code: bytes, task: Task) -> Iterator[Found]:
        for test in task.tests:
            with self._box(SCRIPT, code, task.limits, test.input.encode()) as box:
                box.finish()
                found, idle = printed(box), box.idle()
            compared = found if isinstance(found, Found) else self._compared(found, test, task)
            yield compared._replace(idle=idle)

    def _compared(self, text: str, test: Test, task: Task) -> Found:
        if not task.special:
            printed = text if task.compare == "exact" else text.rstrip()
            if len(printed) > WORDY * (len(test.output) + SHOWN):
                return Found("failed", text)
            return Found("passed" if same_text(test.output, text, task.compare) else "failed", text)
        told = self._special(text, test, task)
        if told not in TOLD and self._special(test.output, test, task) != b"right":
            raise NotStarted("the problem's own judge says neither right nor wrong of what is expected")
        return Found("passed" if told == b"right" else "failed", text)  # where it breaks, it broke on what was printed

    def _special(self, text: str, test: Test, task: Task) -> bytes:
        """What the problem's own judge says of an output."""
        case = json.dumps({"input": test.input, "expected": test.output, "output": text}).encode()
        with opened(self.walls, SCRIPT, task.special.encode(), task.limits, group=self.groups[1], stdin=case) as box:
            box.finish()
        return bytes(box.output).strip()

    def _call(self, code: bytes, task: Task) -> Iterator[Found]:
        with self._box(CALLED, code, task.limits, None) as box:
            for test in task.tests:
                answer = asked(box, wire.encode([task.entry_point, test.input, {}]).encode("ascii"))
                if isinstance(answer, Found):
                    yield answer
                    return
                yield returned(answer, test, task)._replace(idle=box.idle())

    def _check(self, code: bytes, task: Task) -> Iterator[Found]:
        job = {
            "prelude": task.prelude,
            "functions": dict(task.functions),
            "nodes": list(task.nodes),
            "tests": [test.input for test in task.tests],
        }
        with self._checker(job, task) as checker, self._box((*CALLED, *task.nodes), code, task.limits, None) as program:
            for number, found in enumerate(dialogue(checker, program, len(task.tests))):
                if found.outcome != "error":
                    yield found
                elif number and self._asks({**job, "tests": [task.tests[number].input]}, task):
                    yield Found("failed", found.got)  # it runs by itself: the program's earlier values broke it
                else:
                    raise NotStarted(f"the problem's tests do not run: {found.got}")

    def _asks(self, job: Mapping[str, Any], task: Task) -> bool:
        """Whether the tests come as far as to ask for a value."""
        with self._checker(job, task) as checker:
            return (checker.ask(b"\n") or b"").startswith(b"call ")

    def _checker(self, job: Mapping[str, Any], task: Task) -> Any:
        return opened(self.walls, CHECKED, json.dumps(job).encode(), task.limits, group=self.groups[1], stdin=None)

    def _box(self, run: Sequence[str], code: bytes, limits: Limits, stdin: bytes | None) -> Any:
        return opened(self.walls, run, code, limits, group=self.groups[0], stdin=stdin)


def dialogue(checker: Box, program: Box, tests: int) -> Iterator[Found]:
    """Passes the tests' calls to the program and its values back, until each test has spoken."""
    for _ in range(tests):
        told, first, value = checker.ask(b"\n"), True, b""
        while told is not None and told.startswith(b"call "):
            answer = asked(program, told[len(b"call ") :], fresh=first)
            if not answer:
                answer = Found("failed", "no value, or a line before it was asked")
            if isinstance(answer, Found):
                yield answer
                return
            value, first = answer, False
            told = checker.ask(value + b"\n", fresh=False)
        yield said(checker, told, value)._replace(idle=checker.idle(program))
        if checker.over or checker.code is not None:
            return


def said(checker: Box, told: bytes | None, value: bytes) -> Found:
    """What a test says; `error` where it broke before it had a value of the program."""
    if told == b"passed":
        return Found("passed")
    if told is not None and told.startswith(b"failed "):
        why = Found("failed", str(wire.decode(told[len(b"failed ") :])))
    else:
        checker.finish()
        why = broken(checker) or Found("failed", "the tests ended")
    if not value:
        return Found("error", why.got or why.outcome)
    return Found("timeout" if checker.over == "timeout" else "failed", f"{shown(value)}\n{why.got}")


def printed(box: Box) -> str | Found:
    """The text of a script that has ended, or what kept it from printing any."""
    stopped = broken(box)
    if stopped is not None:
        return stopped
    try:
        return box.output.decode()
    except UnicodeDecodeError:
        return Found("failed", "the output is no UTF-8 text")


def asked(box: Box, request: bytes, *, fresh: bool = True) -> bytes | Found:
    """The program's answer to a request; or what kept it from giving one."""
    answer = box.ask(request + b"\n", fresh=fresh)
    if answer is None:
        box.finish()
        return broken(box) or Found("runtime-error", "the program ended before it answered")
    if len(answer) > ANSWER or answer.count(b"[") + answer.count(b"{") > CONTAINERS:
        return Found("output-limit", "the returned value is too large")
    return answer


def returned(answer: bytes, test: Test, task: Task) -> Found:
    """Of a call that was answered."""
    try:
        value = wire.decode(answer)
    except wire.Foreign as error:
        return Found("failed", str(error))
    expected = [test.output]
    if task.unwrap and isinstance(test.output, list) and len(test.output) == 1:
        expected += test.output
    return Found("passed" if any(same_value(one, value) for one in expected) else "failed", shown(answer))


def shown(answer: bytes) -> str:
    return answer.decode(errors="replace")


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


def cut(text: str) -> str:
    """Its beginning, and of a long one what tells it from others of the same beginning."""
    if len(text) <= SHOWN:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{text[:SHOWN]}… ({len(text):,} characters, sha256 {digest[:16]})"


def failure(found: Found, passed: Sequence[bool], number: int = 0, test: Test | None = None) -> Verdict:
    """The verdict of a program whose first failing test was `number`."""
    detail: dict[str, Any] = {"got": cut(found.got)}
    if test is not None:
        detail = {"test": number, "input": test.input, "expected": test.output, **detail}
    return Verdict(found.outcome, tuple(passed), detail)
