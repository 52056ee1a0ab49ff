"""The backends by name; the weak one keeps every limit and forms its verdicts outside like the strong one."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence

import pytest

from preflab.errors import UserError
from preflab.sandbox.backends import open_backend
from preflab.sandbox.bare import Bare
from preflab.sandbox.judging import open_pool
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask, Worker
from preflab.sandbox.walls import Descriptors, StartCommand, Walls
from preflab.types import Test

LIMITS = Limits(cpu_s=1.0, wall_s=4.0, memory_mb=256)
SUM = ProgramTask("stdin", [Test("1 2\n", "3\n"), Test("5 5\n", "10\n")], limits=LIMITS)


@pytest.fixture
def bare() -> Generator[Worker]:
    walls = Bare()
    yield Worker(walls)
    walls.home.cleanup()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print(sum(map(int, input().split())))", "passed"),
        ("print(3)", "failed"),
        ("1 / 0", "runtime-error"),
        ("print(", "compile-error"),
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("x = bytearray(1 << 30)\nx[::4096] = b'1' * len(x[::4096])", "memory"),
        ("import os\nwhile True: os.write(1, b'x' * 65536)", "output-limit"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "runtime-error"),
    ],
)
def test_bare_keeps_the_limits(source: str, expected: str, bare: Worker) -> None:
    """Protects machines without walls from programs that do not end, and the names of verdicts."""
    assert bare.judge(source, SUM).outcome == expected


def test_bare_calls_and_checks(bare: Worker) -> None:
    """Protects the other two modes there."""
    source = "def f(a, b): return (a, b)"
    assert bare.judge(source, ProgramTask("call", [Test([1, 2], [1, 2])], "f", LIMITS)).correct
    asserted = Test("assert candidate(1, b=2) == (1, 2)", None)
    assert bare.judge(source, ProgramTask("check", [asserted], limits=LIMITS, functions={"candidate": "f"})).correct


def test_bare_gives_the_stack_the_memory(bare: Worker) -> None:
    """Protects right programs that recurse deeply, there too."""
    source = "import resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0] >> 20)"
    assert bare.judge(source, ProgramTask("stdin", [Test("", "256")], limits=LIMITS)).correct


def test_unknown_backend() -> None:
    """Protects the user: the nearest name."""
    with pytest.raises(UserError, match=r"Unknown sandbox backend 'bubblewarp'.*bubblewrap"):
        open_backend("bubblewarp")


@pytest.mark.parametrize("name", ["bubblewrap", "bare"])
def test_off_linux_there_is_a_clear_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects users of other systems, of the weak backend too."""
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(UserError, match=r"needs Linux.*On darwin.*container"), open_pool(0, name):
        pass


class Broken(Walls):
    """Walls behind which nothing runs."""

    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        return Bare.start(self.bare, ("/bin/false",), limits, fds)

    bare = Bare()


def test_a_sandbox_that_runs_nothing_is_refused() -> None:
    """Protects from verdicts of a sandbox that fails every program: an honest one is tried before any other."""
    with pytest.raises(UserError, match="cannot run even a harmless program"), open_pool(1, f"{__name__}:Broken"):
        pass


def test_bare_says_what_it_does_not_stop(caplog: pytest.LogCaptureFixture) -> None:
    """Protects who judges without walls from not knowing it."""
    with open_pool(1, "bare"):
        pass
    assert "no walls" in caplog.text
