"""Measures the time and memory of a sandbox from outside, as sums over its processes. The module `groups` measures both
exactly."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_HELD = re.compile(rb"^Vm(?:RSS|Swap|PTE):\s+(\d+)", re.MULTILINE)
_CORES = os.cpu_count() or 1
_LAG_BYTES = 3 * _CORES * max(32, 2 * _CORES) * os.sysconf("SC_PAGE_SIZE")
"""An upper bound on the bytes of a process's memory that its status in /proc does not show yet. Each core counts
separately for a while, before the kernel adds the core's count to the status (Linux 6.2 to 6.16).
`_sum_proportional_memory` does not have this error."""
_TABLES = re.compile(rb"^VmPTE:\s+(\d+)", re.MULTILINE)
_SHARES = re.compile(rb"^(?:Pss|SwapPss):\s+(\d+)", re.MULTILINE)
_INODE_BYTES = 1536  # the kernel's memory for an inode of tmpfs and its name
_SOCKET_BYTES = 512 * 1024  # the largest size of a local socket's buffers and filters
_MAPPING_BYTES = 400
_CHAIN_BYTES = 64  # the size of a link; the kernel can make a link from each mapping to its copy in each child process
_SIGNALS = re.compile(rb"^SigQ:\s+(\d+)", re.MULTILINE)
_SIGNAL_BYTES = 512  # the size of a timer or a queued signal
_MAPPING_LOOKS = 10  # only every tenth measurement counts mappings, because a hostile program can have very many
_MOST_MAPPINGS = 65_530  # the kernel's bound on the mappings of a process


class Usage(NamedTuple):
    """`cpu_s`: the CPU time of all processes, including those that have ended; `memory`: the bytes in use now, or 0 if the
    kernel limits the memory; `killed`: whether the kernel ended a process because memory ran out."""

    cpu_s: float
    memory: int
    killed: bool


class Tree:
    """Measures a process and its descendants, which are read from /proc. The CPU time of an ended process is included
    after its parent has reaped it. The memory is a sum over the processes, including page tables and mappings. This sum
    is an estimate. If the real memory may exceed `memory` bytes, the sum is computed again, exactly and with shared
    pages counted once. `first`: the first process inside the sandbox's namespaces. If `first` is given, the inodes of
    files, the sockets and the timers in these namespaces are included.
    """

    def __init__(self, root: int, memory: int, first: int | None = None) -> None:
        self.root, self.memory, self.first = root, memory, first
        self.most, self.looks, self.mappings = 0.0, 0, 0

    def usage(self) -> Usage:
        cpu, memory = 0.0, 0
        holders = {pid: pid for pid in _list_descendants(self.root)}
        for pid in holders:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) * _TICK
                holders[pid], held = _find_holder(pid)
                memory += held
        self.most = max(self.most, cpu)  # an orphan's time drops out of the sum, but an earlier measurement includes it
        self.looks += 1
        if self.looks % _MAPPING_LOOKS == 0:
            inside = [holder for pid, holder in holders.items() if pid not in (self.root, self.first)]
            self.mappings = sum(map(_count_mappings, inside)) * (_MAPPING_BYTES + _CHAIN_BYTES * len(inside))
        others = self.mappings + (0 if self.first is None else _measure_namespaces(self.first))
        if memory + others + len(holders) * _LAG_BYTES > self.memory:
            memory = _sum_proportional_memory(holders.values())
            if memory + others > self.memory:
                memory = min(memory, _sum_proportional_memory(holders.values()))
        return Usage(self.most, memory + others, False)


def _sum_fields(text: bytes, fields: re.Pattern[bytes]) -> int:
    """Returns the sum, in bytes, of all numbers (in kB) that the pattern `fields` finds in the text of a file in
    /proc."""
    return 1024 * sum(map(int, fields.findall(text)))


def _find_holder(pid: int) -> tuple[int, int]:
    """Returns a thread whose entry in /proc shows the process's memory, and the bytes of this memory. This thread is
    the first thread of the process or, if the first thread has ended, another thread."""
    for thread in itertools.chain([pid], _list_threads(pid)):
        with contextlib.suppress(OSError):
            held = _sum_fields(Path(f"/proc/{thread}/status").read_bytes(), _HELD)
            if held:
                return thread, held
    return pid, 0


def _list_threads(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, os.listdir(f"/proc/{pid}/task"))


def _sum_proportional_memory(pids: Iterable[int]) -> int:
    """Returns the bytes of memory that processes use, with shared pages counted once. If a process ends while the other
    processes are read, its shared pages can be counted more than once. If the sum exceeds a limit, the caller must
    therefore compute the sum again."""
    return sum(map(_read_proportional_memory, pids))


def _read_proportional_memory(pid: int) -> int:
    """Returns the bytes of memory that a process uses. A page that n processes share counts as 1/n of a page, or as a
    whole page if /proc does not show how pages are shared."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_bytes()
        try:
            shares = _sum_fields(Path(f"/proc/{pid}/smaps_rollup").read_bytes(), _SHARES)
        except PermissionError:
            return _sum_fields(status, _HELD)
        return shares + _sum_fields(status, _TABLES)
    return 0


def _count_mappings(pid: int) -> int:
    """Counts the mappings of a process. If the process hides its mappings, returns the kernel's limit on mappings."""
    try:
        return Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")
    except PermissionError:
        return _MOST_MAPPINGS
    except OSError:
        return 0


def _measure_namespaces(first: int) -> int:
    """Returns an upper bound on the kernel's memory, in bytes, for the inodes of /tmp and for the sockets, the timers
    and the queued signals in a process's namespaces. Returns 0 while the sandbox is being built, when the process's
    /tmp is still this machine's /tmp."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        place = f"/proc/{first}/root/tmp"
        if os.stat(place).st_dev == os.stat("/tmp").st_dev:
            return 0
        files = os.statvfs(place)
        sockets = int(Path(f"/proc/{first}/net/sockstat").read_text().split()[2])
        signals = sum(map(int, _SIGNALS.findall(Path(f"/proc/{first}/status").read_bytes())))
        inodes = files.f_files - files.f_ffree
        return inodes * _INODE_BYTES + sockets * _SOCKET_BYTES + signals * _SIGNAL_BYTES
    return 0


def _list_descendants(root: int) -> Iterator[int]:
    pending = [root]
    while pending:
        pid = pending.pop()
        yield pid
        with contextlib.suppress(OSError):
            for thread in _list_threads(pid):
                pending += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
