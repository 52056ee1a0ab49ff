"""What a backend offers: a way to start a command between its walls. `process` does everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from preflab.sandbox.limits import Limits

INNER_PYTHON = "/python/bin/python3"
INNER_SOURCE = "/tmp/main.py"
RUN_MODULE: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.guest", INNER_SOURCE)
RUN_CHECKER: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.checker", INNER_SOURCE)
RUN_SCRIPT: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", INNER_SOURCE)
INNER_ENVIRONMENT = {
    "PATH": "/python/bin:/bin", "HOME": "/tmp", "LOGNAME": "nobody", "LANG": "C.UTF-8", "TZ": "UTC",
    "PYTHONHASHSEED": "1", "PYTHONINTMAXSTRDIGITS": "0", "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


class Descriptors(NamedTuple):
    """What a starting sandbox reads and writes: the program's `source`, the `filter` of calls, `status` (where it writes
    `{"child-pid": N}` when it stands and `{"exit-code": N}` when it has ended, a line each), `hold` (it waits until something
    can be read there)."""

    source: int
    filter: int
    status: int
    hold: int


class StartCommand(NamedTuple):
    """How to start a sandboxed process: the command, and the user to start it as (None: the user of this process)."""

    command: list[str]
    user: int | None


class Walls(ABC):
    """A backend, opened. `filter`: what the sandbox reads from the descriptor of that name. `not_stopped`: what a program can
    do in spite of the walls, in words, which is logged as a warning wherever they are used; empty where there is nothing."""

    filter: bytes = b""
    not_stopped: str = ""

    @abstractmethod
    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        """How to start `run`. In it `INNER_PYTHON` and `INNER_SOURCE` stand for the interpreter and the program's source as
        they lie inside."""
