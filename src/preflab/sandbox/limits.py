"""What a program may use."""

from __future__ import annotations

from typing import NamedTuple

MEGABYTE = 1 << 20


class Limits(NamedTuple):
    """`cpu_s`: CPU time of all the program's processes together, which decides; `wall_s` stands behind it, for programs that
    sleep. `memory_mb`: of all processes together. `output_mb`: what is read of standard output. `disk_mb`: of /tmp."""

    cpu_s: float = 10.0
    wall_s: float = 60.0
    memory_mb: int = 512
    processes: int = 64
    output_mb: int = 16
    disk_mb: int = 32


def wall_for(cpu_s: float) -> float:
    """The wall limit behind a CPU limit: wide, so that a busy machine fails no honest program."""
    return 5.0 * cpu_s + 5.0
