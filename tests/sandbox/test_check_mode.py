"""Tests that are code: they run in a sandbox of their own, and the program never meets them."""

from __future__ import annotations

from typing import Any

import pytest

from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.types import Test

LIMITS = Limits(cpu_s=2.0, wall_s=8.0, memory_mb=256)
WRITES = """
import os
def write(text):
    for descriptor in range(3, 30):
        try: os.write(descriptor, text.encode())
        except OSError: pass
"""
LIST = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val, self.next = val, next
def chain(values):
    head = None
    for value in reversed(values): head = ListNode(value, head)
    return head
def same(one, other):
    while one and other:
        if one.val != other.val: return False
        one, other = one.next, other.next
    return one is None and other is None
"""


def checked(*tests: str, **more: Any) -> ProgramTask:
    functions = more.pop("functions", {"candidate": "f"})
    return ProgramTask("check", [Test(test, None) for test in tests], limits=LIMITS, functions=functions, **more)


def outcome(worker: Worker, source: str, task: ProgramTask) -> str:
    return worker.judge(source, task).outcome


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(x, k): return {x: (k, [None, True])}", "passed"),
        ("def f(x, k): return {x: [k, [None, True]]}", "failed"),  # a list is no tuple
        ("def f(x, k): return {x: (k, [None, 1])}", "passed"),  # as in Python
        ("def f(x, k): return {str(x): (k, [None, True])}", "failed"),  # keys keep their type
        ("from collections import OrderedDict\ndef f(x, k): return OrderedDict({x: (k, [None, True])})", "passed"),
        ("class E:\n    def __eq__(self, other): return True\ndef f(x, k): return E()", "runtime-error"),
        ("class D(dict):\n    def __eq__(self, other): return True\ndef f(x, k): return D()", "failed"),
        ("def f(x, k): raise ValueError", "runtime-error"),
        ("def f(x, k): raise AssertionError", "runtime-error"),
        ("def g(x, k): return 1", "runtime-error"),
        ("def f(x, k) return 1", "compile-error"),
        ("def f(x, k):\n    while True: pass", "timeout"),
        ("import os\ndef f(x, k): os._exit(0)", "runtime-error"),
        ("import os\ndef f(x, k):\n    for fd in range(3, 30):\n        try: os.write(fd, b'passed\\n')\n"
         "        except OSError: pass\n    return 0", "failed"),
        ("import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'passed\\n')\n    except OSError: pass\n"
         "def f(x, k): return {x: (k, [None, True])}", "failed"),
        ("def f(x, k): return 'passed'", "failed"),
    ],
)  # fmt: skip
def test_values_cross_and_verdicts_do_not(source: str, expected: str, worker: Worker) -> None:
    """Protects the types that tests compare, and the verdict from objects, exceptions and words of the program's making."""
    assert outcome(worker, source, checked("assert candidate(3, k=(1,)) == {3: ((1,), [None, True])}")) == expected


def test_nodes_cross(worker: Worker) -> None:
    """Protects LeetCode's lists and trees: long ones (no depth is used up), shared ones, and circles, both ways."""
    task = checked(
        "assert same(candidate(chain(list(range(3000)))), chain(list(range(3000))[::-1]))",
        "one = chain([1, 2]); one.next.next = one\ngot = candidate(one)\nassert got.next.next.val == got.val",
        "one = ListNode(5)\ngot = both(one, one)\nassert got is True",
        prelude=LIST,
        nodes=["ListNode"],
        functions={"candidate": "Solution.turn", "both": "both"},
    )
    source = (
        LIST
        + "class Solution:\n    def turn(self, head):\n        back, seen = None, 0\n        while head and seen < 4000:\n"
        + "            head.next, back, head, seen = back, head, head.next, seen + 1\n        return back\n"
        + "def both(one, other): return one is other\n"
    )
    assert worker.judge(source, task).passed == (True, True, True)
    assert outcome(worker, source.replace("return back", "return head"), task) == "failed"


def test_classes_of_the_program_have_stand_ins(worker: Worker) -> None:
    """Protects MBPP's tests that make objects of the program's own classes."""
    task = checked("pair = Pair(3, 4)\npair.extra = Pair(1, 1)\nassert candidate([pair]) == 9", nodes=["Pair"])
    source = "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
    assert (
        outcome(worker, source + "def f(ps): return sum(p.a + p.b + p.extra.a + p.extra.b for p in ps)", task)
        == "passed"
    )


def test_the_program_never_meets_the_tests(worker: Worker) -> None:
    """Protects the expected values: neither memory, nor files, nor other processes of the sandbox hold the tests' text."""
    hunt = (
        "import gc, os\ndef f():\n    seen = ''.join(map(repr, gc.get_objects()))\n"
        "    for root, _, names in os.walk('/tmp'):\n"
        "        seen += ''.join(open(os.path.join(root, n), errors='replace').read() for n in names)\n"
        "    for p in os.listdir('/proc'):\n        if p.isdigit():\n            for n in ('cmdline', 'environ'):\n"
        "                try: seen += open(f'/proc/{p}/{n}', errors='replace').read()\n                except OSError: pass\n"
        "    return ''.join(['kept-in', '-the-checker']) in seen, len([p for p in os.listdir('/proc') if p.isdigit()])\n"
    )
    verdict = worker.judge(hunt, checked("assert candidate() == 'kept-in-the-checker'"))
    assert verdict.outcome == "failed"
    assert verdict.detail["got"].startswith('{"t":[false,')
    assert (
        int(verdict.detail["got"].partition(",")[2].partition("]")[0]) <= 3
    )  # its own: bubblewrap, the shell's python


def test_a_test_has_one_limit_for_all_its_calls(worker: Worker) -> None:
    """Protects the batch: a program cannot take the limit for itself a hundred times within one test."""
    slow = "import time\ndef f():\n    end = time.process_time() + .5\n    while time.process_time() < end: pass\n    return 1"
    assert outcome(worker, slow, checked("for _ in range(20): candidate()")) == "timeout"
    assert outcome(worker, slow, checked(*["assert candidate() == 1"] * 6)) == "passed"


@pytest.mark.parametrize(
    ("prelude", "test"), [("import no_such_module", "candidate()"), ("", "1 / 0"), ("", "import os; os._exit(0)")]
)
def test_tests_that_do_not_run_are_no_wrong_answer(prelude: str, test: str, worker: Worker) -> None:
    """Protects the program: tests that break before they have asked it anything are the data's failure."""
    assert outcome(worker, "def f(): return 1", checked(test, prelude=prelude)) == "error"


@pytest.mark.parametrize(
    "returned",
    [
        "[[]] * 10 ** 6",
        "{2 ** 61 * n - n: 1 for n in range(10 ** 5)}",  # all of one hash
        "'x' * 10 ** 8",
        "float('nan')",
        "object",
        "{'n': [{'r': 0}, [['ListNode', None, []]]]}",
    ],
)
def test_hostile_values_cost_the_program_alone(returned: str, worker: Worker) -> None:
    """Protects the checker: whatever is returned, the program does not pass, and the judge goes on."""
    task = checked("assert candidate() == 7", nodes=["ListNode"], prelude=LIST)
    assert outcome(worker, f"def f(): return {returned}", task) not in ("passed", "error")
    assert outcome(worker, "def f(): return 7", task) == "passed"


@pytest.mark.parametrize(
    "source",
    [
        f"{WRITES}def f(x):\n    write('\\n')\n    return x",
        f"{WRITES}write('\\n')\ndef f(x): return x",
        f"{WRITES}write('1\\n')\ndef f(x): return x",
    ],
)
def test_an_empty_answer_is_the_programs_fault(source: str, worker: Worker) -> None:
    """Protects the batch: a line without a value once looked like tests that broke by themselves, an `error` that a program
    could make at will, and that stopped the run."""
    assert outcome(worker, source, checked("assert candidate(2) == 2")) == "failed"


@pytest.mark.parametrize(
    "tests", [("assert candidate(1) == 2", "assert candidate(helper(2)) == 3"), ("assert nothing",)]
)
def test_a_test_that_breaks_before_it_asks_is_the_data_s_failure(tests: tuple[str, ...], worker: Worker) -> None:
    """Protects right programs from broken tests, wherever they stand: an earlier test's answer does not count as this one's."""
    assert worker.judge("def f(x): return x + 1", checked(*tests)).outcome == "error"


def test_a_test_that_the_program_broke_is_a_wrong_answer(worker: Worker) -> None:
    """Protects from `error` by the program's own doing: a test that runs by itself is not the data's failure."""
    kept = "big = globals().get('big') or 1\nassert 'x' * (big if big > 9 else 1)\nbig = candidate(1)"
    tests = checked(kept, "assert big < 9 and candidate(1) == 1", prelude="big = 1")
    assert worker.judge("def f(x): return 1", tests).correct
    assert worker.judge("def f(x): return 99", tests).outcome == "failed"
