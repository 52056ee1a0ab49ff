"""What a sandbox uses, summed from outside over its processes. `groups` measures exactly, where it can."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_HELD = re.compile(rb"^Vm(?:RSS|Swap|PTE):\s+(\d+)", re.MULTILINE)
_TABLES = re.compile(rb"^VmPTE:\s+(\d+)", re.MULTILINE)
_SHARES = re.compile(rb"^(?:Pss|SwapPss):\s+(\d+)", re.MULTILINE)
_INODE_BYTES = 1536  # an inode of tmpfs with its name
_SOCKET_BYTES = 512 * 1024  # what a local socket's buffers and filters may hold
_MAPPING_BYTES = 400
_MAPPING_LOOKS = 10  # mappings are counted at every tenth look: the list of a hostile program is long
_MOST_MAPPINGS = 65_530  # the kernel's bound


class Usage(NamedTuple):
    """`cpu_s`: of all processes, those that have ended included; `memory`: bytes in use now, 0 where the kernel limits them;
    `killed`: the kernel ended a process because memory ran out."""

    cpu_s: float
    memory: int
    killed: bool


class Tree:
    """A process and its descendants, read from /proc. The CPU time of processes that have ended counts once their parent has
    reaped them. Memory is the sum of what each process holds, its page tables and mappings included; where the sum exceeds
    `memory` bytes, shared pages are counted once. `first`: the first process of namespaces of their own, in which the inodes of
    files and the sockets count too.
    """

    def __init__(self, root: int, memory: int, first: int | None = None) -> None:
        self.root, self.memory, self.first = root, memory, first
        self.most, self.looks, self.mappings = 0.0, 0, 0

    def usage(self) -> Usage:
        cpu, memory, pids = 0.0, 0, list(_list_descendants(self.root))
        for pid in pids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) * _TICK
                memory += _sum_fields(Path(f"/proc/{pid}/status").read_bytes(), _HELD)
        self.most = max(self.most, cpu)  # the time of an orphan is forgotten, and was counted before
        self.looks += 1
        if self.looks % _MAPPING_LOOKS == 0:
            inside = (pid for pid in pids if pid not in (self.root, self.first))
            self.mappings = sum(map(_count_mappings, inside)) * _MAPPING_BYTES
        others = self.mappings + (0 if self.first is None else _measure_namespaces(self.first))
        if memory + others > self.memory:
            memory = sum(map(_read_proportional_memory, pids))
        return Usage(self.most, memory + others, False)


def _sum_fields(text: bytes, fields: re.Pattern[bytes]) -> int:
    """The sum of these fields of a file in /proc, in bytes."""
    return 1024 * sum(map(int, fields.findall(text)))


def _read_proportional_memory(pid: int) -> int:
    """The bytes of a process; a page that n processes share counts as 1/n, or as 1 where the process hides who shares it."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_bytes()
        try:
            shares = _sum_fields(Path(f"/proc/{pid}/smaps_rollup").read_bytes(), _SHARES)
        except PermissionError:
            return _sum_fields(status, _HELD)
        return shares + _sum_fields(status, _TABLES)
    return 0


def _count_mappings(pid: int) -> int:
    """How many mappings a process has; as many as it may have, where it hides them."""
    try:
        return Path(f"/proc/{pid}/maps").read_bytes().count(b"\n")
    except PermissionError:
        return _MOST_MAPPINGS
    except OSError:
        return 0


def _measure_namespaces(first: int) -> int:
    """The bytes that the kernel holds, at most, for the inodes of /tmp and the sockets of the namespaces of a process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        files = os.statvfs(f"/proc/{first}/root/tmp")
        sockets = int(Path(f"/proc/{first}/net/sockstat").read_text().split()[2])
        return (files.f_files - files.f_ffree) * _INODE_BYTES + sockets * _SOCKET_BYTES
    return 0


def _list_descendants(root: int) -> Iterator[int]:
    pending = [root]
    while pending:
        pid = pending.pop()
        yield pid
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                pending += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
