"""What a backend offers: a way to start a command inside the backend's walls. `process` does everything else."""

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
    "OPENBLAS_NUM_THREADS": "1",  # for NumPy, whose one thread per core would pass the limit of processes
}  # fmt: skip


class Descriptors(NamedTuple):
    """The descriptors that a starting sandbox uses. `source`: from which the sandbox reads the program; `filter`: from which
    the sandbox reads the filter of system calls; `status`: to which the sandbox writes the line `{"child-pid": N}` when it
    stands, and the line `{"exit-code": N}` when it has ended; `hold`: the program begins when something can be read from
    this descriptor."""

    source: int
    filter: int
    status: int
    hold: int


class StartCommand(NamedTuple):
    """How to start a sandboxed process: the command, and the user to start it as (None: the user of this process)."""

    command: list[str]
    user: int | None


class Walls(ABC):
    """A backend that has been opened. `not_stopped`: a text that says what a program can do in spite of the walls, or the
    empty text if there is nothing to say. The text is logged as a warning wherever the walls are used."""

    not_stopped: str = ""

    def filter_calls(self, *, counted: bool) -> bytes:
        """Returns what the sandbox reads from the descriptor `filter`. `counted`: whether a control group measures the
        run."""
        return b""

    def measure(self, process: int, first: int, memory: int) -> Tree:
        """Returns the meter for a run that has no control group and may use at most `memory` bytes. `process`: the process
        of the walls; `first`: the first process inside the walls."""
        return Tree(process, memory)

    def furnish(self, packages: Sequence[str]) -> None:
        """Lets programs import these packages and the packages that these require. Raises `UserError` if programs cannot
        import them."""
        if packages:
            raise UserError(f"The sandbox backend {type(self).__name__} has packages of its own: leave `packages` out.")

    @abstractmethod
    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        """Returns how to start `run`. In `run`, `INNER_PYTHON` and `INNER_SOURCE` stand for the paths, inside the walls, of
        the interpreter and of the program's source."""
