"""Judges one program by its tests: runs the program in the sandbox, and forms the verdict outside the sandbox.

There are three modes. In the mode `stdin`, the program is a script. Each test starts a new process in a new sandbox. A
test is passed if the process exits with status 0 and has printed the expected text. In the mode `call`, the program is
a module. One process calls the module's entry point once for each test. A test is passed if the entry point returns the
expected value. In the mode `check`, the program is a module, and the tests are Python code that calls the module's
functions. These tests run in a second sandbox; only calls and plain values pass between the two sandboxes.

A test ends at the first limit that it exceeds. If a test fails, the remaining tests are skipped, unless `every` is set.

If the machine fails, the program is run again; after `_TRIES` failed runs, the verdict is `error`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

from preflab.sandbox import wire
from preflab.sandbox.compare import OutputComparison, drop_end, same_text
from preflab.sandbox.groups import ControlGroup
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import Box, NotStarted, open_box
from preflab.sandbox.values import ValueComparison, same_answer
from preflab.sandbox.walls import RUN_CHECKER, RUN_COMPARISON, RUN_MODULE, RUN_SCRIPT, Walls
from preflab.types import Test, Verdict

ProgramOutcome = Literal[
    "passed", "failed", "timeout", "memory", "output-limit", "runtime-error", "compile-error", "forbidden", "error"
]
TESTS_FAIL = "the problem's tests do not run: "
"""The beginning of the explanation of the outcome `error`, if a test in the mode `check` fails before the program has
returned a value."""
_TRIES = 3
_PAUSE_SECONDS = 0.1  # the pause before another try after a failure of the machine
_IDLE_SECONDS = 0.2  # in n tests together, a program may wait at most the wall-time limit plus n times this time
_DETAIL_CHARACTERS = 2000  # a verdict quotes at most this many characters of an answer
_SOURCE_BYTES = 1 << 20
VALUE_BYTES = 4 << 20  # the largest size of a returned value, which the judge's own process must read
_VALUE_CONTAINERS = 200_000  # the largest number of lists, tuples, sets and dictionaries in a returned value
_OUTPUT_RATIO = 16  # an answer that is longer than the expected answer by more than this factor counts as wrong
HOT_CHARACTERS = 1 << 18  # the judge's own process compares at most this many characters; a sandbox compares more
_COMPARING = Limits(cpu_s=60.0, wall_s=305.0, memory_mb=4096)  # the limits for comparing long answers in a sandbox
_FILTERED_CALL = -31  # the exit status of a program that the filter of system calls killed
_COMPILE_ERRORS = ("SyntaxError:", "IndentationError:", "TabError:")


class ProgramTask(NamedTuple):
    """The task of a program. The `input` of a test depends on the mode. In the mode `stdin`, `input` is the text on
    standard input. In the mode `call`, `input` contains the arguments of `entry_point`. In the mode `check`, `input` is
    Python code that raises an exception if the test fails.

    `compare`: how printed text is compared; `special`: the source of a program that decides in place of `compare`
    (empty: none). This program reads a JSON object with `input`, `expected` and `output`, and prints `right` or
    `wrong`. `compare_values`: how returned values are compared. `every`: whether the remaining tests are run after the
    first failed test, as long as the program still runs. `unjudged`: the reason why the problem cannot be judged
    (empty: it can be judged).

    Only for `check`: `prelude` is the code that runs before the tests; `functions` maps the function names in the tests
    to the names in the program; `nodes` are the names of the classes whose objects may pass between the tests and the
    program.
    """

    mode: Literal["stdin", "call", "check"]
    tests: Sequence[Test] = ()
    entry_point: str = ""
    limits: Limits = Limits()
    compare: OutputComparison = "lines"
    special: str = ""
    compare_values: ValueComparison = "values"
    every: bool = False
    unjudged: str = ""
    prelude: str = ""
    functions: Mapping[str, str] = {}
    nodes: Sequence[str] = ()


class TestResult(NamedTuple):
    """The result of one test. `got`: the program's output or value as text, or the reason why there is none. `idle`:
    the seconds in which the program did not compute (see `Box.idle`)."""

    outcome: ProgramOutcome
    got: str = ""
    idle: float = 0.0


class Decider(NamedTuple):
    """A program that reads an answer, in a sandbox, and prints `right` or `wrong`. `run`: the command that starts the
    program from its `source`. `write_case`: a function that turns an answer into the text that the program reads."""

    run: Sequence[str]
    source: str
    limits: Limits
    write_case: Callable[[str], str]


class Worker:
    """Judges one program at a time. `walls`: an opened backend. `groups`: the control group that measures the program,
    and the control group that measures its tests."""

    def __init__(self, walls: Walls, groups: tuple[ControlGroup | None, ControlGroup | None] = (None, None)) -> None:
        self.walls, self.groups = walls, groups

    def judge(self, source: str, task: ProgramTask) -> Verdict:
        """Returns the verdict. Its field `passed` tells for each test whether the program passed the test. A test that
        was not run counts as not passed."""
        try:
            code = source.encode()
        except UnicodeEncodeError:
            return _refuse(task, "compile-error", "the source is not UTF-8 text")
        if len(code) > _SOURCE_BYTES:
            return _refuse(task, "compile-error", f"the source has more than {_SOURCE_BYTES:,} bytes")
        if task.unjudged:
            return _refuse(task, "error", task.unjudged)
        trouble = ""
        for _ in range(_TRIES):
            try:
                return self._run_tests(code, task)
            except (NotStarted, OSError) as error:  # the machine failed; a program cannot cause these errors
                trouble = str(error)
                time.sleep(_PAUSE_SECONDS)
        return _refuse(task, "error", trouble)

    def _run_tests(self, code: bytes, task: ProgramTask) -> Verdict:
        run = {"stdin": self._run_script, "call": self._run_calls, "check": self._run_checks}[task.mode]
        first_failure: tuple[int, TestResult] | None = None
        passed = [False] * len(task.tests)
        patience = task.limits.wall_s + _IDLE_SECONDS * len(task.tests)
        for number, result in enumerate(run(code, task)):
            patience -= result.idle
            if patience < 0 and result.outcome == "passed":
                result = TestResult("timeout", "the program waited too long, in total over its tests")
            passed[number] = result.outcome == "passed"
            first_failure = first_failure or (None if passed[number] else (number, result))
            if patience < 0 or (first_failure and not task.every):
                break
        if first_failure is None:
            return Verdict("passed", tuple(passed))
        number, result = first_failure
        test = task.tests[number]
        detail = {"test": number, "input": test.input, "expected": test.output, "got": _shorten(result.got)}
        return Verdict(result.outcome, tuple(passed), detail)

    def _run_script(self, code: bytes, task: ProgramTask) -> Iterator[TestResult]:
        for test in task.tests:
            with self._open_box(RUN_SCRIPT, code, task, stdin=test.input.encode()) as box:
                box.finish()
                idle = box.idle()
            yield (_explain_end(box) or self._compare_output(box.output, test, task))._replace(idle=idle)

    def _compare_output(self, output: bytes | bytearray, test: Test, task: ProgramTask) -> TestResult:
        try:
            text = output.decode()
        except UnicodeDecodeError:
            return TestResult("failed", "the output is not UTF-8 text")
        if task.special:
            case = {"input": test.input, "expected": test.output}
            program = Decider(
                RUN_SCRIPT, task.special, task.limits, lambda output: json.dumps({**case, "output": output})
            )
            return TestResult("passed" if self._decide(program, text, test.output) else "failed", text)
        expected, got = drop_end(test.output, task.compare), drop_end(text, task.compare)
        if len(got) > _OUTPUT_RATIO * (len(expected) + _DETAIL_CHARACTERS):
            return TestResult("failed", text)
        if len(expected) + len(got) <= HOT_CHARACTERS or expected == got:
            right = same_text(expected, got, task.compare)
        else:
            right = self._compare_apart(task.compare, expected, got, expected)
        return TestResult("passed" if right else "failed", text)

    def _compare_value(self, answer: bytes, test: Test, task: ProgramTask, box: Box) -> TestResult:
        """Compares the value that the program in the box returned with the expected value. Returns the result of the
        test."""
        got, rule = answer.decode(errors="replace"), task.compare_values
        if len(got) <= HOT_CHARACTERS:
            try:
                right = same_answer(test.output, wire.decode(answer), rule)
            except wire.Foreign as error:
                return TestResult("failed", str(error))
            return TestResult("passed" if right else "failed", got)
        expected = wire.encode(test.output)
        comparable = answer.isascii() and len(got) <= _OUTPUT_RATIO * (len(expected) + _DETAIL_CHARACTERS)
        right = got == expected or (comparable and self._compare_apart(rule, test.output, got, expected, box))
        return TestResult("passed" if right else "failed", got)

    def _compare_apart(self, rule: str, expected: Any, got: str, right: str, waiting: Box | None = None) -> bool:
        """Compares two answers in a sandbox. `right`: the expected answer, in the form in which a program writes its
        answer; `waiting`: the program that gave the answer, if it is still running."""
        program = Decider(RUN_COMPARISON, "", _COMPARING, lambda output: wire.encode([rule, expected, output]))
        return self._decide(program, got, right, waiting)

    def _decide(self, program: Decider, got: str, expected: str, waiting: Box | None = None) -> bool:
        """Returns whether the answer `got` is right, as the decider `program` decides. If the decider fails on this
        answer, it is run on the expected answer too. If the decider accepts the expected answer, `got` caused the
        failure, and counts as wrong. Otherwise raises `NotStarted`."""
        said = self._ask_decider(program, got, waiting)
        if said not in (b"right", b"wrong") and self._ask_decider(program, expected, waiting) != b"right":
            raise NotStarted("the program that judges the output does not accept the expected output")
        return said == b"right"

    def _ask_decider(self, program: Decider, answer: str, waiting: Box | None) -> bytes:
        case = program.write_case(answer).encode()
        with open_box(
            self.walls, program.run, program.source.encode(), program.limits, group=self.groups[1], stdin=case
        ) as box:
            box.waiting = waiting
            box.finish()
        return bytes(box.output).strip()

    def _run_calls(self, code: bytes, task: ProgramTask) -> Iterator[TestResult]:
        with self._open_box(RUN_MODULE, code, task) as box:
            for test in task.tests:
                answer = _ask(box, wire.encode([task.entry_point, test.input, {}]).encode("ascii"))
                if isinstance(answer, TestResult):
                    yield answer
                    return
                yield self._compare_value(answer, test, task, box)._replace(idle=box.idle())

    def _run_checks(self, code: bytes, task: ProgramTask) -> Iterator[TestResult]:
        run = (*RUN_MODULE, *task.nodes)
        with self._open_checker(task) as checker, self._open_box(run, code, task) as program:
            for number, result in enumerate(_relay(checker, program, len(task.tests))):
                if result.outcome != "error":
                    yield result
                elif number and self._runs_alone(task._replace(tests=[task.tests[number]])):
                    yield TestResult("failed", result.got)  # the program's values for earlier tests broke this test
                else:
                    raise NotStarted(f"{TESTS_FAIL}{result.got}")

    def _runs_alone(self, task: ProgramTask) -> bool:
        """Runs the first test of the task in a new sandbox. Returns True if the test runs at least until it calls the
        program."""
        with self._open_checker(task) as checker:
            return (checker.ask(b"\n") or b"").startswith(b"call ")

    def _open_checker(self, task: ProgramTask) -> AbstractContextManager[Box]:
        job = {"prelude": task.prelude, "functions": dict(task.functions), "nodes": list(task.nodes)}
        tests = [test.input for test in task.tests]
        return self._open_box(RUN_CHECKER, json.dumps({**job, "tests": tests}).encode(), task, group=1)

    def _open_box(
        self, run: Sequence[str], source: bytes, task: ProgramTask, *, group: int = 0, stdin: bytes | None = None
    ) -> AbstractContextManager[Box]:
        return open_box(self.walls, run, source, task.limits, group=self.groups[group], stdin=stdin)


def _relay(checker: Box, program: Box, tests: int) -> Iterator[TestResult]:
    """Passes the tests' calls to the program and the program's values back to the tests, until each test has ended. Yields
    the result of each test."""
    checker.waiting = program
    for _ in range(tests):
        line, value = checker.ask(b"\n"), b""
        while line is not None and line.startswith(b"call "):
            answer = _ask(program, line.removeprefix(b"call "), fresh=not value)
            value = answer or TestResult(
                "failed", "the program returned no value, or wrote a line before it was called"
            )
            if isinstance(value, TestResult):
                yield value
                return
            line = checker.ask(value + b"\n", fresh=False)
        yield _read_result(checker, line, value)._replace(idle=checker.idle(program))
        if checker.over or checker.code is not None:
            return


def _read_result(checker: Box, line: bytes | None, value: bytes) -> TestResult:
    """Reads the result of a test from the test's last line. The outcome is `error` if the test failed before it had
    received a value from the program."""
    if line == b"passed":
        return TestResult("passed")
    if line is not None and line.startswith(b"failed "):
        why = TestResult("failed", str(wire.decode(line.removeprefix(b"failed "))))
    else:
        checker.finish()
        why = _explain_end(checker) or TestResult("failed", "the tests ended without a result")
    if not value:
        return TestResult("error", why.got or why.outcome)
    outcome = "timeout" if checker.over == "timeout" else "failed"
    return TestResult(outcome, f"{value.decode(errors='replace')}\n{why.got}")


def _ask(box: Box, request: bytes, *, fresh: bool = True) -> bytes | TestResult:
    """Returns the program's answer to a request, or a `TestResult` with the reason why there is no answer."""
    answer = box.ask(request + b"\n", fresh=fresh)
    if answer is None:
        box.finish()
        return _explain_end(box) or TestResult("runtime-error", "the program ended before it answered")
    if len(answer) > VALUE_BYTES or answer.count(b"[") + answer.count(b"{") > _VALUE_CONTAINERS:
        return TestResult("output-limit", "the returned value is too large")
    return answer


def _explain_end(box: Box) -> TestResult | None:
    """Returns None if the program ended with status 0. Otherwise returns a result with the reason why the program
    ended. The text on standard error decides only which outcome is named, not whether the program failed."""
    if box.over:
        return TestResult(box.over)
    if box.code == 0:
        return None
    errors = bytes(box.errors).decode(errors="replace").strip()
    last = errors.rpartition("\n")[2]
    if box.code == _FILTERED_CALL:
        return TestResult("forbidden", "a system call that the sandbox does not allow")
    if last.startswith("MemoryError"):
        return TestResult("memory", last)
    outcome = "compile-error" if last.startswith(_COMPILE_ERRORS) else "runtime-error"
    return TestResult(outcome, errors or f"status {box.code}")


def _shorten(text: str) -> str:
    """Returns a short text unchanged. Cuts a long text to its beginning, and adds the length and a digest, which
    distinguish the text from other texts with the same beginning."""
    if len(text) <= _DETAIL_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{text[:_DETAIL_CHARACTERS]}… ({len(text):,} characters, sha256 {digest[:16]})"


def _refuse(task: ProgramTask, outcome: ProgramOutcome, why: str) -> Verdict:
    """Returns the verdict on a program for which no test was run."""
    return Verdict(outcome, (False,) * len(task.tests), {"got": _shorten(why)})
