"""Control groups, where this process may make them: the kernel then measures a run exactly, and limits its memory.

The number of processes is limited by each run's own user instead: a group's count falls late, so that a run which follows
quickly would be refused a fork.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

from preflab.sandbox.limits import MEGABYTE
from preflab.sandbox.usage import Usage

GROUPS_ROOT = Path("/sys/fs/cgroup")
GROUP_OVERHEAD = 8 * MEGABYTE  # bubblewrap's own, and the kernel's for it
_PREFIX = "preflab"
_names = itertools.count()


class ControlGroup(ABC):
    """A control group, made afresh for each run: what a run leaves charged for a while, such as shared memory, is not charged
    to the next. `hierarchies`: the folders below the root in which it must be made, that of memory first; `limit_file` and
    `swap_file`: what limits its memory there."""

    hierarchies: tuple[str, ...]
    limit_file: str
    swap_file: str

    def __init__(self, name: str) -> None:
        self.name, self.runs = name, 0
        self.folders: dict[str, Path] = {}

    def open(self, memory: int) -> None:
        """Makes the group for a run of `memory` bytes at most."""
        self.close()
        self.runs += 1
        self.folders = {part: GROUPS_ROOT / part / f"{self.name}-{self.runs}" for part in self.hierarchies}
        for folder in self.folders.values():
            folder.mkdir()
        memory_folder = self.folders[self.hierarchies[0]]
        (memory_folder / self.limit_file).write_text(str(memory + GROUP_OVERHEAD))
        with contextlib.suppress(OSError):  # there may be no swap to account for
            (memory_folder / self.swap_file).write_text("0")

    def add(self, pid: int) -> None:
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Removes the run's group; one whose last process has not ended yet is left to `sweep_groups`."""
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folders = {}

    @abstractmethod
    def usage(self) -> Usage:
        """What the group has used. Its memory counts as 0: the kernel limits it, and what the group holds is partly cache,
        which the kernel takes back before it kills a process."""


class GroupVersion1(ControlGroup):
    hierarchies, limit_file, swap_file = ("memory", "cpuacct"), "memory.limit_in_bytes", "memory.swappiness"

    def usage(self) -> Usage:
        cpu = int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) * 1e-9
        killed = int((self.folders["memory"] / "memory.oom_control").read_text().split()[-1]) > 0
        return Usage(cpu, 0, killed)


class GroupVersion2(ControlGroup):
    hierarchies, limit_file, swap_file = ("",), "memory.max", "memory.swap.max"

    def usage(self) -> Usage:
        texts = [(self.folders[""] / file).read_text() for file in ("cpu.stat", "memory.events")]
        counts = dict(line.split() for text in texts for line in text.splitlines())
        return Usage(int(counts["usage_usec"]) * 1e-6, 0, int(counts["oom_kill"]) > 0)


def make_group() -> ControlGroup | None:
    """A group under a name that nobody else has; None where this process may not make one."""
    kind = find_group_kind()
    return kind and kind(f"{_PREFIX}-{os.getpid()}-{next(_names)}")


@cache
def find_group_kind() -> type[ControlGroup] | None:
    """The kind of group that can be made here, found by making one; None where none can."""
    for kind in (GroupVersion1, GroupVersion2):
        probe = kind(f"{_PREFIX}-{os.getpid()}-probe")
        try:
            probe.open(64 * MEGABYTE)
            probe.usage()
        except (OSError, LookupError):
            continue
        else:
            return kind
        finally:
            probe.close()
    return None


def sweep_groups() -> None:
    """Ends what a killed judge has left in its control groups, and removes them."""
    kind = find_group_kind()
    for part in kind.hierarchies if kind else ():
        for folder in (GROUPS_ROOT / part).glob(f"{_PREFIX}-*-*"):
            if Path(f"/proc/{folder.name.split('-')[1]}").exists():
                continue
            with contextlib.suppress(OSError):
                pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
                if 0 in pids:  # a process of another container, which is not seen from here and may be alive
                    continue
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                folder.rmdir()
