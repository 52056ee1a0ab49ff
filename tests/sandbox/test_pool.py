"""Many programs at once: each gets its verdict, in bounded memory, and nothing of a killed judge stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from preflab.sandbox import usage
from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.judge import Task
from preflab.sandbox.limits import Limits
from preflab.sandbox.pool import AHEAD, Program, opened_pool
from preflab.sandbox.usage import GROUPS, Group, groups, sweep
from preflab.types import Test

ECHO = Task("stdin", [Test("7", "7")], limits=Limits(cpu_s=2.0, wall_s=10.0))


def test_programs_are_read_no_further_ahead_than_needed(walls: Bubblewrap) -> None:
    """Protects memory, and quick succession: a file of any length is read as it is judged, and 150 runs refuse none a fork."""
    read: list[int] = []

    def programs() -> Iterator[Program]:
        for number in range(150):
            read.append(number)
            yield Program(str(number), "print(input())" if number % 2 else "print(8)", ECHO)

    with opened_pool(2) as pool:
        found: dict[str, str] = {}
        for program, verdict in pool.judge(programs()):
            found[program.id] = verdict.outcome
            assert len(read) <= len(found) + AHEAD * 2
    assert found == {str(number): "passed" if number % 2 else "failed" for number in range(150)}


@pytest.mark.skipif(not groups(), reason="needs root and control groups")
def test_groups_of_a_killed_judge_are_swept() -> None:
    """Protects the machine: groups named after a process that is gone are removed, those of one that lives are not."""
    process = subprocess.Popen(["true"])
    process.wait()
    Group(f"preflab-{process.pid}-0")
    mine = Group(usage.new_name())
    try:
        sweep()
        assert not (GROUPS / "memory" / f"preflab-{process.pid}-0").exists()
        assert all(folder.exists() for folder in mine.folders.values())
    finally:
        mine.close()
