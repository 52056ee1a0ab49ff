"""Makes control groups, with which the kernel measures a run exactly and limits its memory.

Root may make groups at the top of the hierarchy. Any user may make groups inside a group that was delegated to that
user, by systemd (`systemd-run --user --scope -p Delegate=yes`) or by a container. The number of processes is limited
for each run's user and not for the group. The reason is that a group still counts processes for a while after they have
ended; with a limit for the group, the next run might be unable to fork.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from preflab.sandbox.limits import MEGABYTE
from preflab.sandbox.usage import Usage

GROUPS_ROOT = Path("/sys/fs/cgroup")
GROUP_OVERHEAD = 8 * MEGABYTE  # the memory of bubblewrap itself, including the kernel's memory for bubblewrap
_READ_BYTES = 4096  # larger than every file that `read` reads
_PREFIX = "preflab"
_ASIDE = "preflab-judge"  # `_divide` moves processes into the group of this name, and never divides this group itself
_names = itertools.count()


class ControlGroup(ABC):
    """A control group that is created anew for each run. Memory that stays charged to a group after a run, such as
    shared memory, is therefore not charged to the next run. `hierarchies`: the names of the hierarchies in which the
    group must be made, the memory hierarchy first; `bases`: for each hierarchy, the folder in which the group is made;
    `limit_file` and `swap_file`: the files in the memory hierarchy that limit the group's memory."""

    hierarchies: tuple[str, ...]
    limit_file: str
    swap_file: str

    def __init__(self, name: str, bases: Sequence[Path]) -> None:
        self.name, self.bases, self.runs = name, bases, 0
        self.folders: dict[str, Path] = {}
        self.files: dict[str, int] = {}

    def open(self, memory: int) -> None:
        """Makes the group for a run that may use at most `memory` bytes."""
        self.close()
        self.runs += 1
        names = zip(self.hierarchies, self.bases, strict=True)
        self.folders = {part: base / f"{self.name}-{self.runs}" for part, base in names}
        for folder in self.folders.values():
            folder.mkdir()
        memory_folder = self.folders[self.hierarchies[0]]
        (memory_folder / self.limit_file).write_text(str(memory + GROUP_OVERHEAD))
        with contextlib.suppress(OSError):  # fails if the kernel does not account for swap
            (memory_folder / self.swap_file).write_text("0")

    def add(self, pid: int) -> None:
        for folder in self.folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Removes the run's group. If the group's last process has not ended yet, the group is left to `sweep_groups`."""
        for file in self.files.values():
            os.close(file)
        self.files = {}
        for folder in self.folders.values():
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folders = {}

    def read(self, hierarchy: str, name: str) -> str:
        """Returns the text of one of the group's files. The file stays open until the group is closed, because the
        judge reads it for each test, and opening a file takes longer than reading it."""
        if name not in self.files:
            self.files[name] = os.open(self.folders[hierarchy] / name, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self.files[name], _READ_BYTES, 0).decode()

    @abstractmethod
    def usage(self) -> Usage:
        """Returns the CPU time of the group, and whether the kernel killed a process. The memory in the result is
        always 0, because the kernel itself limits the memory. The kernel's count of the group's memory is not returned,
        because it includes cache, which the kernel frees before it kills a process."""


class GroupVersion1(ControlGroup):
    hierarchies, limit_file, swap_file = ("memory", "cpuacct"), "memory.limit_in_bytes", "memory.swappiness"

    def usage(self) -> Usage:
        cpu = int(self.read("cpuacct", "cpuacct.usage")) * 1e-9
        killed = int(self.read("memory", "memory.oom_control").split()[-1]) > 0
        return Usage(cpu, 0, killed)


class GroupVersion2(ControlGroup):
    hierarchies, limit_file, swap_file = ("",), "memory.max", "memory.swap.max"

    def __init__(self, name: str, bases: Sequence[Path]) -> None:
        super().__init__(name, bases)
        for base in bases:
            _divide(base)

    def usage(self) -> Usage:
        texts = [self.read("", name) for name in ("cpu.stat", "memory.events")]
        counts = dict(line.split() for text in texts for line in text.splitlines())
        return Usage(int(counts["usage_usec"]) * 1e-6, 0, int(counts["oom_kill"]) > 0)


def _divide(base: Path) -> None:
    """Enables memory limits for the groups below `base`. The kernel allows this only if `base` itself contains no
    process. If this process is in `base`, all processes of `base` are therefore moved to the group `_ASIDE` below
    `base`. Raises `OSError` if memory limits cannot be enabled."""
    division = base / "cgroup.subtree_control"
    if "memory" in division.read_text().split():
        return
    try:
        division.write_text("+memory")
    except OSError as error:
        pids = (base / "cgroup.procs").read_text().split()
        if error.errno != errno.EBUSY or str(os.getpid()) not in pids or base.name == _ASIDE:
            raise
        aside = base / _ASIDE
        aside.mkdir(exist_ok=True)
        for pid in pids:
            (aside / "cgroup.procs").write_text(pid)
        division.write_text("+memory")


class GroupPlace(NamedTuple):
    """The place where this process can make control groups. `kind`: the class for the machine's version of control
    groups. `bases`: one folder for each hierarchy of this version."""

    kind: type[ControlGroup]
    bases: tuple[Path, ...]


def make_group() -> ControlGroup | None:
    """Returns a control group with a unique name, or None if this process has no right to make control groups."""
    place = find_groups()
    return place and place.kind(f"{_PREFIX}-{os.getpid()}-{next(_names)}", place.bases)


@cache
def find_groups() -> GroupPlace | None:
    """Finds folders of the control group file system in which this process can make groups, by trying to make one.
    Returns None if there are no such folders."""
    for kind in (GroupVersion1, GroupVersion2):
        for bases in _list_bases(kind.hierarchies):
            with contextlib.suppress(OSError, LookupError, ValueError):
                probe = kind(f"{_PREFIX}-{os.getpid()}-probe", bases)
                try:
                    probe.open(64 * MEGABYTE)
                    probe.usage()
                    return GroupPlace(kind, bases)
                finally:
                    probe.close()
    return None


def _list_bases(hierarchies: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """Yields the folders in which groups might be made: the top of each hierarchy, then this process's own group, then the
    groups above it."""
    yield tuple(GROUPS_ROOT / name for name in hierarchies)
    own = [_find_own_group(name) for name in hierarchies]
    for height in range(max(len(group.parts) for group in own)):
        yield tuple(GROUPS_ROOT / name / _climb(group, height) for name, group in zip(hierarchies, own, strict=True))


def _find_own_group(hierarchy: str) -> Path:
    """Returns the group of this process in a hierarchy, as a path below the hierarchy's top. If this process cannot see
    its own group, returns the empty path, which is the top."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if hierarchy in controllers.split(",") and ".." not in path.split("/"):
            return Path(path.lstrip("/"))
    return Path()


def _climb(group: Path, height: int) -> Path:
    return Path(*group.parts[: max(0, len(group.parts) - height)])


def sweep_groups() -> None:
    """Ends the processes that a killed judge has left in its control groups, and removes those groups."""
    place = find_groups()
    for base in place.bases if place else ():
        for folder in base.glob(f"{_PREFIX}-*-*"):
            if Path(f"/proc/{folder.name.split('-')[1]}").exists():
                continue
            with contextlib.suppress(OSError):
                pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
                if 0 in pids:  # 0: a process of another container, which may still run; the group is kept
                    continue
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                folder.rmdir()
