"""The same program, the same verdict: a hundred times over, on a machine whose cores are all busy."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter

import pytest

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.judging import Program, open_pool
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

SUM = ProgramTask("stdin", [Test("1 2", "3"), Test("5 5", "10")], limits=Limits(cpu_s=1.0, wall_s=10.0, memory_mb=128))
PROGRAMS = {
    "passed": "print(sum(map(int, input().split())))",
    "passed, half the limit": "import time as t\nwhile t.process_time() < .5: pass\nprint(sum(map(int, input().split())))",
    "failed": "print(3)",
    "failed, by hash": "print(len({hash('a') % 7, hash('b') % 7}), hash('abc') % 1000)",
    "runtime-error": "1 / 0",
    "compile-error": "print(",
    "timeout": "while True: pass",
    "memory": "x = bytearray(1 << 28)\nx[::4096] = b'1' * len(x[::4096])",
    "output-limit": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "forbidden": "import ctypes\nctypes.CDLL(None).unshare(0x10000000)",
}


def spin() -> None:
    while True:
        pass


@pytest.mark.slow
def test_a_hundred_repetitions_on_a_busy_machine(walls: Bubblewrap) -> None:
    """Protects training from verdicts that depend on the load: CPU time decides, and the wall limit stands far behind it."""
    busy = [multiprocessing.get_context("spawn").Process(target=spin) for _ in os.sched_getaffinity(0)]
    for process in busy:
        process.start()
    try:
        outcomes: dict[str, Counter[str]] = {name: Counter() for name in PROGRAMS}
        asked = (Program(f"{name}#{turn}", source, SUM) for turn in range(100) for name, source in PROGRAMS.items())
        with open_pool() as pool:
            for program, verdict in pool.judge(asked):
                detail = verdict.detail.get("got", "") if verdict.outcome == "failed" else ""
                outcomes[program.id.rpartition("#")[0]][f"{verdict.outcome} {detail}"] += 1
    finally:
        for process in busy:
            process.terminate()
    assert all(list(seen.values()) == [100] for seen in outcomes.values()), outcomes
    assert all(name.startswith(next(iter(seen)).split()[0]) for name, seen in outcomes.items())
