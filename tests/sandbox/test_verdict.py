"""The verdict: formed outside, from bytes; what a program does only decides in which way it fails."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.sandbox import verdict as module
from preflab.sandbox.limits import Limits
from preflab.sandbox.process import NotStarted
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.types import Test

LIMITS = Limits(cpu_s=2.0, wall_s=6.0, memory_mb=256)
SUMS = ProgramTask("stdin", [Test("1 2\n", "3\n"), Test("10 -4\n", "6\n"), Test("0 0\n", "0\n")], limits=LIMITS)
UNIQUE = ProgramTask("call", [Test([[3, 1, 3]], [3, 1]), Test([[]], []), Test([["b", "b"]], ["b"])], "unique", LIMITS)
SPRAY = (
    "import os\ndef spray(line):\n    for fd in range(3, 40):\n        try: os.write(fd, line)\n"
    "        except OSError: pass\n"
)
RIGHT = "def unique(xs): return list(dict.fromkeys(xs))\n"


def outcome(worker: Worker, source: str, task: ProgramTask) -> str:
    return worker.judge(source, task).outcome


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print(sum(map(int, input().split())))", "passed"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(0)", "passed"),
        ("print(sum(map(int, open('/dev/stdin').read().split())), end='')", "passed"),
        ("\ufeffprint(sum(map(int, input().split())))\r\n", "passed"),
        ("from dataclasses import dataclass\nprint(sum(map(int, input().split()))); quit()", "passed"),
        (
            "import os\nprint(sum(map(int, input().split())), flush=True)\nif os.fork() == 0:\n    while True: pass",
            "passed",
        ),
        ("print(3)", "failed"),
        ("", "failed"),
        ("print(sum(map(int, input().split()))); exit(1)", "runtime-error"),
        ("print(1 / 0)", "runtime-error"),
        ("print(", "compile-error"),
        ("if True:\nprint(3)", "compile-error"),
        ("print('\ud800')", "compile-error"),
        ("print('a\0')", "compile-error"),
        ("while True: pass", "timeout"),
        ("x = bytearray(1 << 30)\nx[::4096] = b'1' * len(x[::4096])", "memory"),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", "output-limit"),
        ("import ctypes\nctypes.CDLL(None).unshare(0x10000000)", "forbidden"),
        ("import os\nos.write(1, b'\\xff')", "failed"),
        ("print('passed'); print('{\"verdict\": \"passed\"}')", "failed"),
    ],
)
def test_scripts(source: str, expected: str, worker: Worker) -> None:
    """Protects each name of a verdict, and honest programs written in any of the usual ways."""
    assert outcome(worker, source, SUMS) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RIGHT, "passed"),
        (RIGHT + "if __name__ == '__main__': unique(input())", "passed"),
        ("print('loaded')\ndef unique(xs):\n    print(xs)\n    return tuple(dict.fromkeys(xs))", "passed"),
        ("import functools\nunique = lambda xs: [x for i, x in enumerate(xs) if x not in xs[:i]]", "passed"),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n" + RIGHT,
            "passed",
        ),
        ("def unique(xs): xs.clear(); return []", "failed"),
        ("def unique(xs): return set(xs)", "failed"),
        ("def unique(xs): return iter(xs)", "failed"),
        ("def uniq(xs): return xs", "runtime-error"),
        ("def unique(xs): raise SystemExit(0)", "runtime-error"),
        ("import os\ndef unique(xs): os._exit(0)", "runtime-error"),
        ("class E:\n    def __eq__(self, other): return True\ndef unique(xs): return E()", "runtime-error"),
        ("class L(list):\n    def __eq__(self, other): return True\ndef unique(xs): return L([0])", "failed"),
        ("def unique(xs):\n    x = []\n    for _ in range(5000): x = [x]\n    return x", "runtime-error"),
        (SPRAY + "def unique(xs):\n    spray(b'[3,1]\\n')\n    return []", "failed"),
        (SPRAY + "spray(b'[3,1]\\n[]\\n[\"b\"]\\n')\n" + RIGHT, "failed"),
        (SPRAY + "def unique(xs):\n    while True: spray(b'[' * 65536)", "output-limit"),
        ("import time\ndef unique(xs): time.sleep(60)", "timeout"),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef unique(xs): return unique(xs)", "memory"),
    ],
)  # fmt: skip
def test_calls(source: str, expected: str, worker: Worker) -> None:
    """Protects the channel: it can be garbled, flooded and spoken on too early, and none of that passes."""
    actual = outcome(worker, source, UNIQUE)
    assert actual == expected or (
        expected == "memory" and actual == "runtime-error"
    )  # a stack may end before the memory


def test_expected_values_are_not_in_reach(worker: Worker) -> None:
    """Protects the tests: neither frames, nor live objects, nor files, nor arguments hold what is expected."""
    secret = "kept-outside-1f0c"
    task = ProgramTask("call", [Test([1], secret)], "f", LIMITS)
    hunt = (
        "import gc, os, sys\ndef f(x):\n    seen = ''\n    frame = sys._getframe()\n    while frame:\n"
        "        seen += repr(frame.f_locals) + repr(frame.f_globals); frame = frame.f_back\n"
        "    seen += ''.join(map(repr, gc.get_objects()))\n    for root, _, files in os.walk('/tmp'):\n"
        "        seen += ''.join(open(os.path.join(root, f), errors='replace').read() for f in files)\n"
        "    for p in os.listdir('/proc'):\n        if p.isdigit():\n            for n in ('cmdline', 'environ', 'maps'):\n"
        "                try: seen += open(f'/proc/{p}/{n}', errors='replace').read()\n                except OSError: pass\n"
        "    return ''.join(['kept-outside', '-1f0c']) in seen\n"
    )
    verdict = worker.judge(hunt, task)
    assert verdict.outcome == "failed" and verdict.detail["got"] == "false"


def test_the_first_failure_ends_it_and_is_shown(worker: Worker) -> None:
    """Protects time and readers: later tests are not run, and the failing one stands there with what came instead."""
    verdict = worker.judge("print(3)", SUMS)
    assert verdict.passed == (True, False, False)
    assert dict(verdict.detail) == {"test": 1, "input": "10 -4\n", "expected": "6\n", "got": "3\n"}


@pytest.mark.parametrize(
    ("source", "task", "passed"),
    [
        ("print(3)", SUMS, (True, False, False)),
        ("print(6 if input()[0] == '1' and input() else 0)", SUMS, (False, False, True)),
        ("def unique(xs): return xs", UNIQUE, (False, True, False)),
        ("def unique(xs): return xs if xs else 1 / 0", UNIQUE, (False, False, False)),  # no test after its end
    ],
)
def test_every_test_where_a_share_counts(
    source: str, task: ProgramTask, passed: tuple[bool, ...], worker: Worker
) -> None:
    """Protects the reward by the share of tests: later ones count too, as far as the program lives."""
    verdict = worker.judge(source, task._replace(every=True))
    assert verdict.passed == passed and verdict.detail["test"] == passed.index(False)


def test_a_special_judge_decides(worker: Worker) -> None:
    """Protects problems of several right answers: a program of the problem's, in a sandbox too, sees input and output."""
    special = (
        "import json, sys\ncase = json.load(sys.stdin)\n"
        "got = case['output'].split()\nprint('right' if sorted(got) == sorted(case['expected'].split()) else 'wrong')"
    )
    task = ProgramTask("stdin", [Test("", "1 2 3")], limits=LIMITS, special=special)
    assert [outcome(worker, f"print({text!r})", task) for text in ("3 1 2", "1 2")] == ["passed", "failed"]
    assert outcome(worker, "print(1)", task._replace(special="print('passed')")) == "error"  # its own fault


def test_each_call_has_a_limit_of_its_own(worker: Worker) -> None:
    """Protects programs with many tests: .8 s of CPU three times is within 2 s a test."""
    source = RIGHT + "import time\nu = unique\ndef unique(xs):\n    end = time.process_time() + .8\n"
    source += "    while time.process_time() < end: pass\n    return u(xs)"
    assert outcome(worker, source, UNIQUE) == "passed"


def test_a_failure_of_the_machine_is_tried_again(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from the machine's failures counted as wrong answers: two in a row are forgiven, three are an `error`."""
    opened, failures = module.open_box, iter([True, True, False, *[True] * 3])

    def sometimes(*arguments: Any, **settings: Any) -> Any:
        if next(failures):
            raise NotStarted("no space for a namespace")
        return opened(*arguments, **settings)

    monkeypatch.setattr(module, "open_box", sometimes)
    one = SUMS._replace(tests=SUMS.tests[:1])
    assert outcome(worker, "print(3)", one) == "passed"
    verdict = worker.judge("print(3)", one)
    assert verdict.outcome == "error" and verdict.detail["got"] == "no space for a namespace"


LONG = " ".join(map(str, range(100_000)))


@pytest.mark.parametrize(
    ("source", "task", "expected"),
    [
        ("print(*range(100000), '')", ProgramTask("stdin", [Test("", LONG)]), "passed"),
        ("print(*range(100000), sep='\\n')", ProgramTask("stdin", [Test("", LONG)], compare="tokens"), "passed"),
        ("print(*range(100000), sep='\\n')", ProgramTask("stdin", [Test("", LONG)]), "failed"),
        ("print(*range(100001))", ProgramTask("stdin", [Test("", LONG)], compare="tokens"), "failed"),
        ("def f(): return [1.0 + 1e-9] * 200000", ProgramTask("call", [Test([], [1.0] * 200_000)], "f"), "passed"),
        ("def f(): return [1.1] * 200000", ProgramTask("call", [Test([], [1.0] * 200_000)], "f"), "failed"),
        ("def f(): return [True] * 200000", ProgramTask("call", [Test([], [1] * 200_000)], "f"), "failed"),
        (
            "def f(): return [True] * 200000",
            ProgramTask("call", [Test([], [1] * 200_000)], "f", compare_values="loose"),
            "passed",
        ),
        ("def f(): return list(range(100000))", ProgramTask("call", [Test([], 1)], "f"), "failed"),
    ],
)
def test_long_answers_are_compared_in_a_sandbox(
    source: str, task: ProgramTask, expected: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the process that trains: what takes long to compare is compared elsewhere, by the same rules."""
    for name in ("same_text", "same_answer"):
        plain = getattr(module, name)
        monkeypatch.setattr(module, name, lambda one, other, rule, plain=plain: one == other or 1 / 0)
    assert outcome(worker, source, task) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class Solution:\n    def merge(self, a, b): return a + b", "passed"),
        ("class Solution:\n    @staticmethod\n    def merge(a, b): return a + b", "passed"),
        ("class Solution:\n    @classmethod\n    def merge(cls, a, b): return a + b", "passed"),
        ("from heapq import *\nclass Solution:\n    def merge(self, a, b): return a + b", "passed"),
        ("class Solution:\n    def merge(self, a): return a\ndef merge(a, b): return a + b", "passed"),
        ("class Solution:\n    def merge(self, a, b): return a + b\nmerge = Solution().merge", "passed"),
        ("from operator import add as merge", "passed"),
        ("class Solution: pass\ndef merge(a, b): return a + b", "passed"),
        ("class Solution:\n    def other(self, a, b): return a + b", "runtime-error"),
    ],
)
def test_a_method_of_the_class_solution(source: str, expected: str, worker: Worker) -> None:
    """Protects right programs in either form: a name that is only imported does not hide the class's own method."""
    task = ProgramTask("call", [Test([2, 3], 5)], "merge", LIMITS)
    assert outcome(worker, source, task) == expected
    check = ProgramTask("check", [Test("assert f(2, 3) == 5", None)], limits=LIMITS, functions={"f": "merge"})
    assert (outcome(worker, source, check) == "passed") is (expected == "passed")


@pytest.mark.parametrize("depth", [20_000, 100_000])
def test_the_stack_is_as_large_as_the_memory(depth: int, worker: Worker) -> None:
    """Protects right programs that recurse deeply: contest judges give the stack all of the memory; 8 MB end by signal 11."""
    recursion = (
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
    )
    script = ProgramTask("stdin", [Test(f"{depth}", f"{depth}")], limits=LIMITS._replace(memory_mb=512))
    assert outcome(worker, f"{recursion}print(f(int(input())))", script) == "passed"
    function = ProgramTask("call", [Test([depth], depth)], "f", LIMITS._replace(memory_mb=512))
    assert outcome(worker, recursion, function) == "passed"
