"""Defines the limits on the time, memory, output and disk space that a program may use."""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

MEGABYTE = 1 << 20
BUSY = 5.0  # wall seconds allowed for each CPU second, so that honest programs do not fail on a busy machine
CORE_BYTES = 1  # the limit of a core dump in bytes; with 0, the kernel would still start the machine's crash handler
_NOMINAL = 0.0175  # CPU seconds of `_time_loop` on the machine on which the limits were chosen (3 GHz, CPython 3.11)


class Limits(NamedTuple):
    """The limits of a program. `cpu_s`: the CPU time of all its processes together; a program that computes without end
    reaches this limit first. `wall_s`: the wall time, which stops programs that sleep. `memory_mb`: the memory of all
    processes together. `processes`: the number of processes. `output_mb`: the size of standard output. `disk_mb`: the
    size of /tmp."""

    cpu_s: float = 10.0
    wall_s: float = 60.0
    memory_mb: int = 512
    processes: int = 64
    output_mb: int = 16
    disk_mb: int = 32


def derive_wall_limit(cpu_s: float) -> float:
    """Returns the wall-time limit in seconds for a given CPU-time limit in seconds."""
    return BUSY * cpu_s + 5.0


@functools.cache
def measure_machine_factor() -> float:
    """Returns how many times slower Python is on this machine than on the machine on which the time limits were chosen.
    The factor is at least 1. The function measures the factor once, as the best of five runs."""
    return max(1.0, min(_time_loop() for _ in range(5)) / _NOMINAL)


def _time_loop() -> float:
    started = time.process_time()
    total, totals = 0, dict[int, int]()
    for number in range(200_000):
        total += number * number % 7
        totals[number & 1023] = total
    return time.process_time() - started
