"""What a sandbox uses, measured from outside: by a control group where root has one, else summed over its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from preflab.sandbox.limits import MEGABYTE

GROUPS = Path("/sys/fs/cgroup")
OVERHEAD = 8 * MEGABYTE  # bubblewrap's own, and the kernel's for it
TICK = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """`cpu_s`: of all processes, those that ended included; `memory`: bytes, now, where nobody else looks after them;
    `killed`: the kernel ended a process for want of memory."""

    cpu_s: float
    memory: int
    killed: bool


class Tree:
    """The processes below one, read from /proc. CPU time of processes that ended counts once their parent has reaped them.

    Memory is the sum of what each holds; above `memory` bytes, where it begins to matter, shared pages are counted once.
    """

    def __init__(self, root: int, memory: int) -> None:
        self.root = root
        self.memory = memory
        self.most = 0.0

    def usage(self) -> Usage:
        cpu, memory, pids = 0.0, 0, list(_below(self.root))
        for pid in pids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) * TICK
                memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        self.most = max(self.most, cpu)  # what is forgotten with an orphan was seen before
        if memory > self.memory:
            memory = sum(map(_proportional, pids))
        return Usage(self.most, memory, False)


class Group:
    """A control group (version 1) of memory and CPU time, a fresh one for each run: what a run leaves charged for a while, such
    as shared memory, is not the next one's.

    Processes are bounded by each run's own user: a group's count falls late, and would refuse a quick successor a fork.
    """

    controllers = ("memory", "cpuacct")

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = 0
        self.folders: dict[str, Path] = {}

    def open(self, memory: int) -> None:
        """Ready for a run, under its limit."""
        self.close()
        self.runs += 1
        self.folders = {controller: GROUPS / controller / f"{self.name}-{self.runs}" for controller in self.controllers}
        for folder in self.folders.values():
            folder.mkdir()
        self._write("memory", "memory.limit_in_bytes", memory + OVERHEAD)
        with contextlib.suppress(OSError):
            self._write("memory", "memory.swappiness", 0)

    def add(self, pid: int) -> None:
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def usage(self) -> Usage:
        """The kernel sees to the memory: what the group holds is partly cache, which it takes back before it kills."""
        cpu = int(self._read("cpuacct", "cpuacct.usage")) * 1e-9
        return Usage(cpu, 0, int(self._read("memory", "memory.oom_control").split()[-1]) > 0)

    def close(self) -> None:
        """The run's group goes; one whose last process is not yet gone is left to `sweep`."""
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folders = {}

    def _read(self, controller: str, name: str) -> str:
        return (self.folders[controller] / name).read_text()

    def _write(self, controller: str, name: str, value: int) -> None:
        (self.folders[controller] / name).write_text(str(value))


def groups() -> bool:
    """Whether this process may make control groups."""
    return os.geteuid() == 0 and all(os.access(GROUPS / name / "tasks", os.W_OK) for name in Group.controllers)


def _proportional(pid: int) -> int:
    """Bytes of a process, where a page that n processes share counts as 1/n."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0


def _below(root: int) -> Iterator[int]:
    pending = [root]
    while pending:
        pid = pending.pop()
        yield pid
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                pending += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())


def sweep() -> None:
    """Ends what a killed judge has left in its control groups, and removes them."""
    for controller in Group.controllers:
        for folder in (GROUPS / controller).glob("preflab-*-*"):
            if Path(f"/proc/{folder.name.split('-')[1]}").exists():
                continue
            with contextlib.suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                folder.rmdir()


_names = iter(range(1 << 62))
_lock = threading.Lock()


def new_name() -> str:
    """A name for a control group that nobody else has."""
    with _lock:
        return f"preflab-{os.getpid()}-{next(_names)}"
