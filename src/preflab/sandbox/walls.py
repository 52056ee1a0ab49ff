"""Defines `Walls`, the interface of a backend of the sandbox. A backend isolates a command. The module `process` does
everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from preflab.errors import UserError
from preflab.sandbox.limits import Limits
from preflab.sandbox.usage import Tree

INNER_PYTHON = "/python/bin/python3"
INNER_SOURCE = "/tmp/main.py"
_RUN_GUEST = "import sys; from preflab.sandbox.guest import answer_calls; answer_calls(*sys.argv[1:])"
_RUN_CHECKER = "import sys; from preflab.sandbox.checker import run_tests; run_tests(*sys.argv[1:])"
RUN_MODULE: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-c", _RUN_GUEST, INNER_SOURCE)  # starts faster than `-m`
RUN_CHECKER: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-c", _RUN_CHECKER, INNER_SOURCE)
RUN_COMPARISON: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", "-m", "preflab.sandbox.values")
RUN_SCRIPT: tuple[str, ...] = (INNER_PYTHON, "-s", "-P", INNER_SOURCE)
INNER_ENVIRONMENT = {
    "PATH": "/python/bin:/bin", "HOME": "/tmp", "LOGNAME": "nobody", "LANG": "C.UTF-8", "TZ": "UTC",
    "PYTHONHASHSEED": "1", "PYTHONINTMAXSTRDIGITS": "0", "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # otherwise NumPy starts one thread per core and exceeds the limit on processes
}  # fmt: skip


class Descriptors(NamedTuple):
    """The file descriptors that a starting sandbox uses. The sandbox reads the program from `source`, and the filter of
    system calls from `filter`. The sandbox writes the line `{"child-pid": N}` to `status` when it has been built, and
    the line `{"exit-code": N}` when it has ended. The sandbox starts the program as soon as `hold` can be read."""

    source: int
    filter: int
    status: int
    hold: int


class StartCommand(NamedTuple):
    """How to start a sandboxed process. `user`: the id of the user who runs the command (None: the user of this
    process)."""

    command: list[str]
    user: int | None


class Walls(ABC):
    """An opened backend. `not_stopped`: a warning about the attacks that the backend does not stop (empty: no warning).
    The warning is logged when the backend is used."""

    not_stopped: str = ""

    def filter_calls(self, *, counted: bool) -> bytes:
        """Returns the seccomp program that filters the sandbox's system calls, as bytes. Returns no bytes if the
        backend does not filter system calls. `counted`: whether a Linux control group (cgroup) limits the memory of the
        run."""
        return b""

    def measure(self, process: int, first: int, memory: int) -> Tree:
        """Returns the meter for a run that has no control group and may use at most `memory` bytes. `process`: the
        process that builds the sandbox; `first`: the first process inside the sandbox."""
        return Tree(process, memory)

    def furnish(self, packages: Sequence[str]) -> None:
        """Makes these packages, and all packages that they require, importable for programs. Raises `UserError` if a
        package cannot be made importable."""
        if packages:
            raise UserError(f"The sandbox backend {type(self).__name__} brings its own packages: leave `packages` out.")

    @abstractmethod
    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        """Returns how to start `run`. In `run`, `INNER_PYTHON` and `INNER_SOURCE` are the paths of the interpreter and
        of the program's source inside the sandbox."""
