"""What a sandbox uses, summed from outside over its processes. `groups` measures exactly, where it can."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """`cpu_s`: of all processes, those that have ended included; `memory`: bytes in use now, 0 where the kernel limits them;
    `killed`: the kernel ended a process because memory ran out."""

    cpu_s: float
    memory: int
    killed: bool


class Tree:
    """A process and its descendants, read from /proc. The CPU time of processes that have ended counts once their parent has
    reaped them. Memory is the sum of what each process holds; where the sum exceeds `memory` bytes, shared pages are counted
    once.
    """

    def __init__(self, root: int, memory: int) -> None:
        self.root, self.memory, self.most = root, memory, 0.0

    def usage(self) -> Usage:
        cpu, memory, pids = 0.0, 0, list(_list_descendants(self.root))
        for pid in pids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) * _TICK
                memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        self.most = max(self.most, cpu)  # the time of an orphan is forgotten, and was counted before
        if memory > self.memory:
            memory = sum(map(_read_proportional_memory, pids))
        return Usage(self.most, memory, False)


def _read_proportional_memory(pid: int) -> int:
    """The bytes of a process; a page that n processes share counts as 1/n."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0


def _list_descendants(root: int) -> Iterator[int]:
    pending = [root]
    while pending:
        pid = pending.pop()
        yield pid
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                pending += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
