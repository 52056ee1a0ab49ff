"""What an adversary found when the judge was attacked afresh: each hole stays closed, each honest idiom that it broke works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.compare import same_text
from preflab.sandbox.groups import find_groups, make_group
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import VALUE_BYTES, ProgramTask, Worker
from preflab.sandbox.walls import INNER_PYTHON
from preflab.types import Test

LIMITS = Limits(cpu_s=3.0, wall_s=8.0, memory_mb=256)
FIVE = ProgramTask("stdin", [Test("", "5")], limits=LIMITS)
WRITE = (
    "import gc, os\ndef send(data):\n    line = next(o for o in gc.get_objects() if type(o).__name__ == 'JudgeLine')\n"
    "    view = memoryview(data)\n    while view: view = view[os.write(line.outgoing.fileno(), view):]\n"
)


def call(output: object, *arguments: object, **limits: float) -> ProgramTask:
    return ProgramTask("call", [Test(list(arguments), output)], "f", LIMITS._replace(**limits))


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (str(3**700), "1e999"),  # both beyond every float
        ("10000000", "10000099.0"),  # within 1e-5 of it, and another integer
        ("12345678901234567891", "12345678901234500000.0"),
        ("5", "5e99999999999"),
        ("1e999", "2e999"),
    ],
)
def test_large_numbers_are_not_rounded_into_right_ones(expected: str, got: str) -> None:
    assert not same_text(expected, got, "tokens") and not same_text(expected, got, "caseless")
    assert not same_text(expected, got)


def test_rounding_is_forgiven_where_an_integer_is_expected() -> None:
    assert same_text("2", "1.9999999999999998", "tokens") and same_text("20", "20.000", "tokens")


SHARED = {
    "system v": "import ctypes\nc = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p\nfor i in range(2):\n"
    "    n = 100 << 20; k = c.shmget(0, n, 0o1600)\n    if k < 0: break\n    p = c.shmat(k, None, 0)\n"
    "    ctypes.memset(p, 1, n); c.shmdt(ctypes.c_void_p(p))\nprint(5)",
    "in flight": (
        "import os, socket\ntry:\n    for i in range(6):\n        f = os.memfd_create('x'); os.write(f, bytes(30 << 20))\n"
        "        a, b = socket.socketpair(); fds = [f, a.fileno(), b.fileno()]\n"
        "        socket.send_fds(a, [b'x'], fds); socket.send_fds(b, [b'x'], fds); os.close(f); a.close(); b.close()\n"
        "except OSError: pass\nprint(5)"
    ),
}


@pytest.mark.skipif(not find_groups(), reason="needs root and control groups")
@pytest.mark.parametrize("kind", SHARED)
def test_what_a_run_leaves_charged_is_not_the_next_ones(kind: str, walls: Bubblewrap) -> None:
    """Protects the batch: memory that a namespace holds a little longer than its processes stopped it with an OSError."""
    pair = make_group(), make_group()
    worker = Worker(walls, pair)
    try:
        for _ in range(3):
            worker.judge(SHARED[kind], FIVE._replace(limits=LIMITS._replace(memory_mb=512)))
            answer = worker.judge("print(5)", FIVE._replace(limits=LIMITS._replace(memory_mb=64)))
            assert answer.outcome == "passed"
    finally:
        for group in filter(None, pair):
            group.close()


def test_the_first_process_is_out_of_reach(worker: Worker) -> None:
    """Protects the walls' own process: its memory could be rewritten through /proc, to outlive the judge and the limits."""
    source = (
        "import os\nfound = []\nfor name in ('mem', 'syscall', 'oom_score_adj', 'root', 'environ', 'fd'):\n"
        "    try: os.stat(f'/proc/1/{name}'); found.append(name)\n    except OSError: pass\nprint(*found or [5])"
    )
    assert worker.judge(source, FIVE).outcome == "passed"


@pytest.mark.slow
def test_nothing_outlives_a_judge_that_is_killed(tmp_path: Path) -> None:
    """Protects the machine: kill -9 of the judge takes its sandboxes with it."""
    code = (
        "from preflab.sandbox.bubblewrap import Bubblewrap\nfrom preflab.sandbox.verdict import ProgramTask, Worker\n"
        "from preflab.types import Test\n"
        f"source = 'import time\\nwhile 1: time.sleep(.1) # {tmp_path.name}'\n"
        "Worker(Bubblewrap()).judge(source, ProgramTask('stdin', [Test('', '5')]))"
    )
    judge = subprocess.Popen([sys.executable, "-c", code])
    below: list[psutil.Process] = []
    while len(below) < 3:
        below = psutil.Process(judge.pid).children(recursive=True)
        time.sleep(0.05)
    judge.send_signal(signal.SIGKILL)
    judge.wait()
    gone, alive = psutil.wait_procs(below, timeout=10)
    assert gone and not alive


def test_a_checker_that_was_stopped_is_not_asked_again(worker: Worker) -> None:
    """Protects from `error` by the program's own doing: a value that keeps the first test busy beyond its limit."""
    source = WRITE + (
        "import time\nM = 2 ** 61 - 1\n"
        "data = b'{\"s\":[' + b','.join(b'{\"i\":\"%x\"}' % (i * M) for i in range(1, 40000)) + b']}\\n'\n"
        "def f(x):\n    send(data)\n    time.sleep(5)\n"
    )
    tests = [Test(f"assert candidate({number}) == {{{number}}}", None) for number in (1, 2)]
    task = ProgramTask("check", tests, limits=LIMITS._replace(cpu_s=1.0), functions={"candidate": "f"}, every=True)
    assert worker.judge(source, task).outcome == "timeout"


@pytest.mark.parametrize("printed", ["x", "", "9" * 5000])
def test_a_special_judge_that_breaks_on_an_output_breaks_on_it_alone(printed: str, worker: Worker) -> None:
    """Protects from `error` by what is printed: the problem's own judge works on what is expected."""
    special = (
        "import json, sys\na = int(json.load(sys.stdin)['output'].split()[0])\nprint('right' if a == 5 else 'wrong')"
    )
    assert worker.judge(f"print({printed!r})", FIVE._replace(special=special)).outcome == "failed"


def test_a_source_too_large_for_its_place_is_no_failure_of_the_machine(worker: Worker) -> None:
    assert worker.judge("x = 1 #" + "x" * (33 << 20), FIVE).outcome == "compile-error"


@pytest.mark.parametrize(
    "data",
    [
        "b'[' + b'[],' * 5400000 + b'[]]\\n'",
        "b'[' + b'{\"t\":[]},' * 1700000 + b'1]\\n'",
        "b'\"' + b'x' * (15 << 20) + b'\"\\n'",
    ],
)
def test_reading_an_answer_costs_the_judge_little(data: str, worker: Worker) -> None:
    """Protects the judge's process: a huge answer is not read at all, whatever is in it."""
    before = time.process_time()
    answer = worker.judge(WRITE + f"def f(x):\n    send({data})\n", call([1], 1))
    assert answer.outcome == "output-limit"
    assert time.process_time() - before < 2.0 and VALUE_BYTES < 15 << 20


def test_dripping_output_does_not_keep_the_judge_busy(worker: Worker) -> None:
    """Protects the other workers: a byte at a time, with and without 10 MB before it, costs a small share of a core."""
    for source in (
        "import os\nwhile True: os.write(1, b'x')",
        WRITE + "def f(x):\n    send(b'x' * (10 << 20))\n    while True: send(b'x')",
    ):
        task = FIVE if "def f" not in source else call(1, 1)
        before, started = time.process_time(), time.monotonic()
        answer = worker.judge(source, task._replace(limits=LIMITS._replace(cpu_s=2.0, wall_s=3.0)))
        assert answer.outcome == "timeout"
        assert time.process_time() - before < 0.5 * (time.monotonic() - started)


def test_many_open_files_do_not_stop_the_judge(worker: Worker) -> None:
    """Protects a training process with many files: descriptors above 1,023."""
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        assert worker.judge("print(5)", FIVE).outcome == "passed"
    finally:
        for descriptor in held:
            os.close(descriptor)


HONEST = {
    "daemon threads": "import threading, time\ndef w():\n    while True: time.sleep(0.0005)\n"
    "for _ in range(20): threading.Thread(target=w, daemon=True).start()\nx = [[i] for i in range(300000)]\nprint(5)",
    "long integers": "assert len(str(2 ** 20000)) == 6021\nprint(5)",
    "/dev/stdout": "open('/dev/stdout', 'w').write('5'); open('/dev/stderr', 'w').write('x')",
    "a user's name": "import getpass; getpass.getuser(); print(5)",
    "a sub-process": "import asyncio\nasync def main():\n"
    "    p = await asyncio.create_subprocess_exec('/bin/sh', '-c', 'exit 0')\n    await p.wait()\n"
    "asyncio.run(main())\nprint(5)",
    "shared memory": "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=9)\n"
    "s.buf[0] = 5; print(s.buf[0]); s.close(); s.unlink()",
    "a pool": "from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor\nif __name__ == '__main__':\n"
    "    with ThreadPoolExecutor(8) as t, ProcessPoolExecutor(2) as p:\n"
    "        print(max(*t.map(abs, range(-5, 1)), *p.map(abs, [-4])))",
}  # fmt: skip


@pytest.mark.parametrize("idiom", HONEST)
def test_honest_idioms(idiom: str, walls: Bubblewrap) -> None:
    """Protects right programs, written as people write them."""
    verdict = Worker(walls).judge(HONEST[idiom], FIVE)
    assert verdict.correct, verdict


def test_a_program_that_complains_while_it_is_asked(worker: Worker) -> None:
    """Protects from a deadlock: a large argument and much on standard error, both of which a pipe cannot hold."""
    source = "import sys\nsys.stderr.write('w' * 200000)\ndef f(a): return len(a)"
    assert worker.judge(source, call(100000, list(range(100000)))).correct


@pytest.mark.parametrize(
    ("test", "source"),
    [
        ("assert list(candidate(3)) == [0, 1, 2]", "def f(n):\n    for i in range(n): yield i"),
        ("assert candidate(3) == range(3)", "def f(n): return range(n)"),
        ("assert sorted(candidate(3)) == [0, 1]", "def f(n): return map(abs, [0, 1])"),
        (
            "from fractions import *\nassert candidate(3) == Fraction(1, 3)",
            "from fractions import *\nf = lambda n: 1 / Fraction(n)",
        ),
        (
            "import decimal\nassert candidate(3) == decimal.Decimal('.3')",
            "import decimal\nf = lambda n: decimal.Decimal('.3')",
        ),
    ],
)
def test_what_tests_that_are_code_may_be_given(test: str, source: str, worker: Worker) -> None:
    """Protects right programs that return an iterator, a range, a fraction or a decimal."""
    task = ProgramTask("check", [Test(test, None)], limits=LIMITS, functions={"candidate": "f"})
    assert worker.judge(source, task).correct


def test_nodes_in_slots_and_of_subclasses(worker: Worker) -> None:
    """Protects right programs that write a problem's class anew, with slots, or derive from it."""
    prelude = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
    task = ProgramTask(
        "check",
        [Test("node = candidate(ListNode(1, ListNode(2)))\nassert (node.val, node.next.val) == (1, 3)", None)],
        limits=LIMITS,
        functions={"candidate": "f"},
        nodes=["ListNode"],
        prelude=prelude,
    )
    slots = (
        "class ListNode:\n    __slots__ = ('val', 'next')\n    def __init__(self, val=0, next=None):\n"
        "        self.val, self.next = val, next\nclass Mine(ListNode): pass\n"
        "def f(node):\n    node.next = Mine(3)\n    return node"
    )
    assert worker.judge(slots, task).correct


def test_only_tmp_can_be_written(walls: Bubblewrap) -> None:
    """Protects the machine's memory: the cover over the walls' own /proc entry was a folder without a bound."""
    source = "try: open('/proc/1/x', 'w')\nexcept OSError: print(5)"
    assert Worker(walls).judge(source, FIVE).correct


def test_the_limit_is_a_tests_own(walls: Bubblewrap) -> None:
    """Protects right programs of many tests: together these take more CPU time than any one of them may (it ended them)."""
    spin = "start = time.process_time()\n    while time.process_time() - start < 0.6: pass"
    source = f"import time\ndef f():\n    {spin}\n    return 5"
    task = ProgramTask("call", [Test([], 5)] * 6, "f", LIMITS._replace(cpu_s=1.0))
    assert Worker(walls).judge(source, task).correct


SLEEP = "import time\ndef f():\n    time.sleep(.6)\n    return 5\nif __name__ == '__main__': print(f())"
SLEEPERS = {
    "stdin": ProgramTask("stdin", [Test("", "5")] * 15),
    "call": ProgramTask("call", [Test([], 5)] * 15, "f", every=True),
    "check": ProgramTask("check", [Test("assert candidate() == 5", None)] * 15, functions={"candidate": "f"}),
}


@pytest.mark.parametrize("mode", SLEEPERS)
def test_who_sleeps_in_every_test_is_stopped(mode: str, worker: Worker) -> None:
    """Protects the batch: each test is right and within its wall limit, and hundreds of them would hold a worker for long.
    By the judge's rule 1 s + 15 x .2 s in all, so six or seven of .6 s."""
    verdict = worker.judge(SLEEP, SLEEPERS[mode]._replace(limits=LIMITS._replace(wall_s=1.0)))
    assert verdict.outcome == "timeout" and 4 <= sum(verdict.passed) <= 7


@pytest.mark.parametrize("garbled", ["x", '{"s":[[]]}', '{"n":[{"r":0},[["Pair",null,[]]]]}', '{"q":[1,0]}'])
@pytest.mark.parametrize("swallowed", ["ValueError", "BaseException"])
def test_a_garbled_value_is_no_exception_of_the_program(garbled: str, swallowed: str, worker: Worker) -> None:
    """Protects tests that expect an exception: what is no value raised one in the test, which took it for the program's."""
    test = f"try: candidate(1)\nexcept {swallowed}: pass\nelse: assert False"
    source = WRITE + f"def f(x):\n    send({garbled!r}.encode() + b'\\n')\n"
    task = ProgramTask("check", [Test(test, None)], limits=LIMITS, functions={"candidate": "f"})
    assert worker.judge(source, task).outcome == "failed"


def test_devices_carry_nothing_to_the_next_program(worker: Worker) -> None:
    """Protects runs from each other: devices are the machine's own, and whoever may write to one could set its times."""
    source = (
        "import os\nfor path in map('/dev/{}'.format, ('null', 'full', 'random', 'urandom')):\n    before = os.stat(path)\n"
        "    for times in (None, (7, 7)):\n        try: os.utime(path, times)\n        except OSError: pass\n"
        "    with open(path, 'r+b', 0) as file:\n        file.read(1)\n        try: file.write(b'x')\n"
        "        except OSError: pass\n    after = os.stat(path)\n"
        "    same = [getattr(before, n) == getattr(after, n) for n in ('st_atime_ns', 'st_mtime_ns', 'st_ctime_ns')]\n"
        "    assert all(same), (path, same)\nopen('a', 'w').write('5')\nimport pathlib, shutil\n"
        "pathlib.Path('a').touch(); pathlib.Path('c').touch(); open('c').close(); shutil.copy('a', 'b')\n"
        "print(open('b').read())"
    )
    assert worker.judge(source, FIVE).correct


MEANWHILE = {
    "memory": "x = b'1' * (400 << 20); time.sleep(.1)",
    "timeout": "while time.process_time() < 1: pass",
}
WORK = (
    "import threading, time\nfrom preflab.sandbox.line import JudgeLine\nwrite = JudgeLine.write\n"
    "def work():\n    {0}\ndef answer(self, text):\n    write(self, text)\n"
    "    threading.Thread(target=work, daemon=True).start()\n    JudgeLine.write = write\n"
    "JudgeLine.write = answer\ndef f(x): return {1}"
)


@pytest.mark.parametrize("limit", MEANWHILE)
def test_a_program_keeps_its_limits_while_its_answer_is_tested(limit: str, worker: Worker) -> None:
    """Protects the machine: nobody looked at a program while tests that are code worked on its answer."""
    tests = [Test("import time\nassert f(0) == 0\ntime.sleep(5)", None), Test("assert f(1) == 1", None)]
    task = ProgramTask("check", tests, limits=LIMITS._replace(cpu_s=0.5, wall_s=30.0), functions={"f": "f"})
    verdict = worker.judge(WORK.format(MEANWHILE[limit], "x"), task)
    assert (verdict.outcome, verdict.passed) == (limit, (True, False))


def test_a_program_keeps_its_limits_while_its_answer_is_compared(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the machine: the same for a value that is so long that a sandbox of its own compares it, here a slow one."""
    slow = (INNER_PYTHON, "-c", "import time; time.sleep(6); print('right')")
    monkeypatch.setattr("preflab.sandbox.verdict.RUN_COMPARISON", slow)
    tests = [Test([number], "x" * 300_000) for number in range(2)]
    task = ProgramTask("call", tests, "f", LIMITS._replace(wall_s=30.0))
    source = WORK.format(MEANWHILE["memory"], "'y' * 300_000 if x == 0 else None")
    assert worker.judge(source, task).outcome == "memory"


CACHED = (
    "import ctypes, mmap, os, resource\nc = ctypes.CDLL(None)\n"
    "file = open(os.path.dirname(os.__file__) + '/pydoc_data/topics.py', 'rb')\nn = os.fstat(file.fileno()).st_size // 4096\n"
    "m = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)\n"
)
EVICT = (
    CACHED
    + "os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)\nfor advice in (20, 21): m.madvise(advice)\nprint(5)"
)
LOOK = CACHED + (
    "def loads():\n    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt\n"
    "m.madvise(mmap.MADV_RANDOM)\nbefore = loads()\nfor place in range(n): m[place * 4096]\n"
    "assert os.preadv(file.fileno(), [bytearray(1)], 0) == 1\n"
    "try: os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT); print('asked')\nexcept OSError: pass\n"
    "if c.mincore(0, 0, 0) == 0: print('asked')\nprint(5 + loads() - before)"
)


def test_the_cache_of_the_image_carries_nothing_to_the_next_program(walls: Bubblewrap) -> None:
    """Protects runs from each other: a program took a file out of the kernel's cache and read some of its pages, and the next
    one saw which."""
    walls.furnish(())
    worker = Worker(walls)
    assert worker.judge(EVICT, FIVE).correct
    verdict = worker.judge(LOOK, FIVE)
    assert verdict.correct, verdict.detail


def test_files_of_the_image_carry_no_hint_to_the_next_program(worker: Worker) -> None:
    """Protects runs from each other: a file's owner, and on older kernels anybody, may mark it with a hint that stays."""
    source = CACHED + (
        "import fcntl, struct\nfor path in (file.name, 'main.py', '/dev/null'):\n    for operation in range(1035, 1039):\n"
        "        try: fcntl.fcntl(open(path), operation, struct.pack('Q', 2)); print(path, operation)\n"
        "        except OSError as error: assert error.errno == 22, error\nprint(5)"
    )
    assert worker.judge(source, FIVE).correct


def test_the_machines_disk_does_not_wait_for_a_program(worker: Worker) -> None:
    """Protects the machine: each `fsync` of a file of the image emptied the cache of the disk, on which everybody waited."""
    source = (
        "import mmap, os\nread, write = os.pipe()\n"  # the kernel refuses these calls on a pipe
        "os.fsync(read); os.fdatasync(read); os.posix_fadvise(read, 0, 0, 0)\nf = open('a', 'w+b'); f.write(b'5' * 4096)\n"
        "f.flush(); m = mmap.mmap(f.fileno(), 0); m.flush(); os.fsync(f.fileno()); print(m[:1].decode())"
    )
    verdict = worker.judge(source, FIVE)
    assert verdict.correct, verdict.detail
