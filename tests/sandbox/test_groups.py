"""Control groups: what is read and written in version 2, what is found on a machine, what a killed judge leaves."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from preflab.sandbox import groups
from preflab.sandbox.groups import (
    GROUP_OVERHEAD,
    GROUPS_ROOT,
    GroupPlace,
    GroupVersion1,
    GroupVersion2,
    find_groups,
    make_group,
    sweep_groups,
)
from preflab.sandbox.usage import Usage


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Another root, where nothing is a control group; what was found of this machine is forgotten before and after."""
    monkeypatch.setattr(groups, "GROUPS_ROOT", tmp_path)
    find_groups.cache_clear()
    yield tmp_path
    find_groups.cache_clear()


def test_version_2_by_its_files(elsewhere: Path) -> None:
    """Protects the unified hierarchy: one folder a run, its limit with the walls' own share, microseconds as seconds, and the
    kernel's count of what it killed."""
    (elsewhere / "cgroup.subtree_control").write_text("cpu memory\n")
    group = GroupVersion2("preflab-1-0", [elsewhere])
    group.open(64 << 20)
    folder = elsewhere / "preflab-1-0-1"
    assert (folder / "memory.max").read_text() == str((64 << 20) + GROUP_OVERHEAD)
    assert (folder / "memory.swap.max").read_text() == "0"
    group.add(4321)
    assert (folder / "cgroup.procs").read_text() == "4321"
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert group.usage() == Usage(2.5, 0, False)
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.usage().killed
    group.open(64 << 20)
    assert group.folders[""] == elsewhere / "preflab-1-0-2"


def test_without_the_kernels_files_there_is_no_group(elsewhere: Path) -> None:
    """Protects from a limit that nobody keeps: a folder that can be made is not yet a control group."""
    assert find_groups() is None
    assert make_group() is None
    sweep_groups()


def test_processes_that_are_not_seen_from_here_are_left_alone(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects this process: a group that another container fills lists its processes as 0, and a signal to 0 reaches us."""
    killed: list[int] = []
    monkeypatch.setattr(groups, "find_groups", lambda: GroupPlace(GroupVersion2, (elsewhere,)))
    monkeypatch.setattr("os.kill", lambda pid, _: killed.append(pid))
    for name, listed in (("preflab-4194305-0", "0\n17\n"), ("preflab-4194306-0", "18\n")):
        (elsewhere / name).mkdir()
        (elsewhere / name / "cgroup.procs").write_text(listed)
    sweep_groups()
    assert killed == [18]


@pytest.mark.skipif(find_groups() is None, reason="needs root and control groups")
def test_groups_of_a_killed_judge_are_swept() -> None:
    """Protects the machine: groups named after a process that is gone are removed, those of one that lives are not."""
    process = subprocess.Popen(["true"])
    process.wait()
    place, mine = find_groups(), make_group()
    assert place is not None and mine is not None
    left = place.kind(f"preflab-{process.pid}-0", place.bases)
    try:
        for group in (left, mine):
            group.open(64 << 20)
        sweep_groups()
        assert not any(folder.exists() for folder in left.folders.values())
        assert all(folder.exists() for folder in mine.folders.values())
    finally:
        mine.close()


@pytest.mark.skipif(not (GROUPS_ROOT / "memory").is_dir(), reason="needs version 1")
def test_version_1_is_found_before_version_2() -> None:
    """Protects machines with both mounted: the memory controller is the first one's."""
    place = find_groups()
    assert place is None or place.kind is GroupVersion1


def delegate(monkeypatch: pytest.MonkeyPatch, folder: Path, pids: list[str]) -> None:
    """Makes the folder behave like a group of version 2 that holds these processes: while it does, it divides no memory."""
    folder.mkdir(parents=True)
    (folder / "cgroup.subtree_control").write_text("cpu\n")
    (folder / "cgroup.procs").write_text("\n".join(pids))
    write = Path.write_text

    def write_like_the_kernel(path: Path, text: str) -> int:
        if text == "+memory" and (folder / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, "busy")
        if path.name == "cgroup.procs":
            left = [pid for pid in (folder / "cgroup.procs").read_text().split() if pid != text]
            write(folder / "cgroup.procs", "\n".join(left))
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", write_like_the_kernel)


def test_a_delegated_group_is_divided(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects exact limits for users: a group that systemd or a container delegates holds this process, and may then limit no
    memory below it; its processes move aside. A group that holds other processes alone is not ours to divide."""
    mine, others = elsewhere / "user" / "run.scope", elsewhere / "other.scope"
    delegate(monkeypatch, mine, [str(os.getpid()), "4321"])
    GroupVersion2("preflab-1-0", [mine])
    assert (mine / "cgroup.subtree_control").read_text() == "+memory"
    assert (mine / "preflab-judge" / "cgroup.procs").read_text() == "4321" and not (mine / "cgroup.procs").read_text()
    monkeypatch.undo()
    delegate(monkeypatch, others, ["4321"])
    with pytest.raises(OSError, match="busy"):
        GroupVersion2("preflab-1-0", [others])


def test_own_groups_are_tried_up_to_the_top(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects users whose group, or one above it, was delegated: the top is for root, and tried first."""
    monkeypatch.setattr(groups, "_find_own_group", lambda name: Path({"memory": "a/b", "cpuacct": "c"}[name]))
    memory, cpu = elsewhere / "memory", elsewhere / "cpuacct"
    assert list(groups._list_bases(("memory", "cpuacct"))) == [
        (memory, cpu),
        (memory / "a" / "b", cpu / "c"),
        (memory / "a", cpu),
    ]


@pytest.mark.skipif(not (GROUPS_ROOT / "memory").is_dir() or os.geteuid() != 0, reason="needs root and version 1")
def test_a_group_that_was_delegated_limits_a_users_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects users: where the top is closed to them, groups are made in the one that this process is in."""
    bases = [GROUPS_ROOT / name / f"preflab-test-{os.getpid()}" for name in GroupVersion1.hierarchies]
    for base in bases:
        base.mkdir()
    monkeypatch.setattr(groups, "_list_bases", lambda names: iter([(Path("/nowhere"), Path("/nowhere")), tuple(bases)]))
    find_groups.cache_clear()
    try:
        assert find_groups() == GroupPlace(GroupVersion1, tuple(bases))
        group = make_group()
        assert group is not None
        with contextlib.closing(group):
            group.open(64 << 20)
            assert {folder.parent for folder in group.folders.values()} == set(bases)
    finally:
        find_groups.cache_clear()
        for base in bases:
            base.rmdir()
