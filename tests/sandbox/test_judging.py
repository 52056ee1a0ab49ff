"""Many programs at once: each gets its verdict, in bounded memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.judging import AHEAD, Program, open_pool
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

ECHO = ProgramTask("stdin", [Test("7", "7")], limits=Limits(cpu_s=2.0, wall_s=10.0))


def test_programs_are_read_no_further_ahead_than_needed(walls: Bubblewrap) -> None:
    """Protects memory, and quick succession: a file of any length is read as it is judged, and 150 runs refuse none a fork."""
    read: list[int] = []

    def programs() -> Iterator[Program]:
        for number in range(150):
            read.append(number)
            yield Program(str(number), "print(input())" if number % 2 else "print(8)", ECHO)

    with open_pool(2) as pool:
        outcomes: dict[str, str] = {}
        for program, verdict in pool.judge(programs()):
            outcomes[program.id] = verdict.outcome
            assert len(read) <= len(outcomes) + AHEAD * 2
    assert outcomes == {str(number): "passed" if number % 2 else "failed" for number in range(150)}


def test_a_judge_whose_parent_ignores_its_children(walls: Bubblewrap) -> None:
    """Protects who is started by a daemon: a signal that is ignored stays so in what is started, and no end of a program was
    ever heard of."""
    code = (
        "from preflab.sandbox.judging import Program, open_pool\nfrom preflab.sandbox.verdict import ProgramTask\n"
        "from preflab.types import Test\ntask = ProgramTask('stdin', [Test('', '5')])\n"
        "programs = [Program(each, each, task) for each in ('print(5)', 'print(5); exit(1)')]\n"
        "with open_pool(1) as pool: print([verdict.outcome for _, verdict in pool.judge(programs)])"
    )
    command = f"import os, signal, sys; signal.signal({int(signal.SIGCHLD)}, signal.SIG_IGN); "
    command += f"os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, timeout=120, env={**os.environ}
    )
    assert done.stdout == "['passed', 'runtime-error']\n", done.stderr
