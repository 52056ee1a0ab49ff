"""How fast programs are judged, against the machine's own ceiling: bare Python starting and ending, as many at once.

    python benchmarks/judge.py [--programs 200] [--workers 2] [--repeats 3] [--out result.json]

Two workloads: scripts of one stdin test, and modules of ten calls, each between fresh walls. Printed are programs, or calls,
a second, `python -I -c pass` a second, their ratio, the judge's own largest resident size, and scripts a second in a process
that holds as much memory as one that trains. Each figure is the best of the repeats, which alternate. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from preflab.sandbox.judging import Pool, Program, open_pool
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

CALLS = 10
TRAINS = 600
"""MB of memory of a process that trains a small model."""
SCRIPT = ProgramTask("stdin", [Test("3 4\n", "7\n")], limits=Limits(cpu_s=4.0))
MODULE = ProgramTask("call", [Test([n, n + 1], 2 * n + 1) for n in range(CALLS)], "add", Limits(cpu_s=4.0))


def judged(pool: Pool, source: str, task: ProgramTask, count: int) -> Callable[[], float]:
    """Programs a second; every one must pass."""

    def run() -> float:
        started = time.perf_counter()
        verdicts = list(pool.judge(Program(str(number), source, task) for number in range(count)))
        assert all(verdict.correct for _, verdict in verdicts)
        return count / (time.perf_counter() - started)

    return run


def bare(workers: int, count: int) -> float:
    """`python -I -c pass` a second."""
    with ThreadPoolExecutor(workers) as threads:
        started = time.perf_counter()
        list(threads.map(lambda _: subprocess.run([sys.executable, "-I", "-c", "pass"], check=True), range(count)))
        return count / (time.perf_counter() - started)


def measure(programs: int, workers: int, repeats: int) -> dict[str, float]:
    with open_pool(workers) as pool:
        runs = {
            "scripts/s": judged(pool, "a, b = map(int, input().split())\nprint(a + b)", SCRIPT, programs),
            "modules/s": judged(pool, "def add(a, b): return a + b", MODULE, programs),
            "bare python/s": lambda: bare(workers, programs),
        }
        rounds = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
        figures = {name: max(done[name] for done in rounds) for name in runs}
        figures["judge MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        held = b"1" * (TRAINS << 20)
        figures[f"scripts/s beside {len(held) >> 20} MB"] = max(runs["scripts/s"]() for _ in range(repeats))
    figures["calls/s"] = CALLS * figures["modules/s"]
    figures["scripts/bare"] = figures["scripts/s"] / figures["bare python/s"]
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    machine = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0)), "workers": options.workers}
    result = json.dumps(machine | measure(options.programs, options.workers, options.repeats), indent=1)
    print(result)
    if options.out is not None:
        options.out.write_text(result + "\n")


if __name__ == "__main__":
    main()
