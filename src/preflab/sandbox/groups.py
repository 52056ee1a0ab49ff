"""Control groups, where this process may make them: the kernel then measures a run exactly, and limits its memory.

The number of processes is limited by each run's own user instead: a group's count falls late, so that a run which follows
quickly would be refused a fork.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

from preflab.sandbox.limits import MEGABYTE
from preflab.sandbox.usage import Usage

GROUPS_ROOT = Path("/sys/fs/cgroup")
GROUP_OVERHEAD = 8 * MEGABYTE  # bubblewrap's own, and the kernel's for it
_PREFIX = "preflab"


class ControlGroup(ABC):
    """A control group, made afresh for each run: what a run leaves charged for a while, such as shared memory, is not charged
    to the next. `hierarchies`: the folders below the root in which it must be made."""

    hierarchies: tuple[str, ...]

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = 0
        self.folders: dict[str, Path] = {}

    def open(self, memory: int) -> None:
        """Makes the group for a run of `memory` bytes at most."""
        self.close()
        self.runs += 1
        self.folders = {part: GROUPS_ROOT / part / f"{self.name}-{self.runs}" for part in self.hierarchies}
        for folder in self.folders.values():
            folder.mkdir()
        self.limit(memory + GROUP_OVERHEAD)

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
    def limit(self, memory: int) -> None: ...

    @abstractmethod
    def usage(self) -> Usage:
        """What the group has used. Its memory counts as 0: the kernel limits it, and what the group holds is partly cache,
        which the kernel takes back before it kills a process."""


class GroupVersion1(ControlGroup):
    hierarchies = ("memory", "cpuacct")

    def limit(self, memory: int) -> None:
        (self.folders["memory"] / "memory.limit_in_bytes").write_text(str(memory))
        with contextlib.suppress(OSError):
            (self.folders["memory"] / "memory.swappiness").write_text("0")

    def usage(self) -> Usage:
        cpu = int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) * 1e-9
        killed = int((self.folders["memory"] / "memory.oom_control").read_text().split()[-1]) > 0
        return Usage(cpu, 0, killed)


class GroupVersion2(ControlGroup):
    hierarchies = ("",)

    def limit(self, memory: int) -> None:
        (self.folders[""] / "memory.max").write_text(str(memory))
        with contextlib.suppress(OSError):  # there may be no swap to account for
            (self.folders[""] / "memory.swap.max").write_text("0")

    def usage(self) -> Usage:
        counts = {
            line.split()[0]: int(line.split()[1])
            for file in ("cpu.stat", "memory.events")
            for line in self._read_lines(file)
        }
        return Usage(counts["usage_usec"] * 1e-6, 0, counts["oom_kill"] > 0)

    def _read_lines(self, file: str) -> list[str]:
        return (self.folders[""] / file).read_text().splitlines()


def make_group() -> ControlGroup | None:
    """A group under a name that nobody else has; None where this process may not make one."""
    kind = find_group_kind()
    with _lock:
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


_names = iter(range(1 << 62))
_lock = threading.Lock()
