"""What a backend offers: a way to start a command between its walls. `process` does everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.limits import Limits
from preflab.sandbox.usage import Tree

INNER_PYTHON = "/python/bin/python3"
INNER_SOURCE = "/tmp/main.py"
RUN_MODULE: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.guest", INNER_SOURCE)
RUN_CHECKER: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.checker", INNER_SOURCE)
RUN_COMPARISON: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.values")
RUN_SCRIPT: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", INNER_SOURCE)
INNER_ENVIRONMENT = {
    "PATH": "/python/bin:/bin", "HOME": "/tmp", "LOGNAME": "nobody", "LANG": "C.UTF-8", "TZ": "UTC",
    "PYTHONHASHSEED": "1", "PYTHONINTMAXSTRDIGITS": "0", "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # NumPy's, of which one a core would pass the limit of processes
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
    """A backend, opened. `not_stopped`: what a program can do in spite of the walls, in words, which is logged as a warning
    wherever they are used; empty where there is nothing."""

    not_stopped: str = ""

    def filter_calls(self, *, counted: bool) -> bytes:
        """What the sandbox reads from the descriptor `filter`. `counted`: a control group measures the run."""
        return b""

    def measure(self, process: int, first: int, memory: int) -> Tree:
        """What measures a run of `memory` bytes at most that has no control group. `process` is the process of the walls,
        `first` the first one inside."""
        return Tree(process, memory)

    def furnish(self, packages: Sequence[str]) -> None:
        """Lets programs import these packages, and what they require, too. Raises `UserError` where they cannot."""
        if packages:
            raise UserError(f"The sandbox backend {type(self).__name__} has packages of its own: leave `packages` out.")

    @abstractmethod
    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        """How to start `run`. In it `INNER_PYTHON` and `INNER_SOURCE` stand for the interpreter and the program's source as
        they lie inside."""
