"""Many programs at once: each gets its verdict, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.sandbox.bubblewrap import Bubblewrap
from preflab.sandbox.judging import AHEAD, Program, open_pool
from preflab.sandbox.limits import Limits
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

ECHO = ProgramTask("stdin", [Test("7", "7")], limits=Limits(cpu_s=2.0, wall_s=10.0))


def test_programs_are_read_no_further_ahead_than_needed(walls: Bubblewrap) -> None:
    """Protects memory, and quick succession: a file of any length is read as it is judged, and 150 runs refuse none a fork."""
    read: list[int] = []

    def programs() -> Iterator[Program]:
        for number in range(150):
            read.append(number)
            yield Program(str(number), "print(input())" if number % 2 else "print(8)", ECHO)

    with open_pool(2) as pool:
        outcomes: dict[str, str] = {}
        for program, verdict in pool.judge(programs()):
            outcomes[program.id] = verdict.outcome
            assert len(read) <= len(outcomes) + AHEAD * 2
    assert outcomes == {str(number): "passed" if number % 2 else "failed" for number in range(150)}
