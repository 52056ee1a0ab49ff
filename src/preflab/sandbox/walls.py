"""What a backend offers: a way to start a command between its walls. `process` does the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from preflab.sandbox.limits import Limits

PYTHON = "/python/bin/python3"
SOURCE = "/tmp/main.py"
CALLED: tuple[str, ...] = (PYTHON, "-s", "-P", "-m", "preflab.sandbox.guest", SOURCE)
CHECKED: tuple[str, ...] = (PYTHON, "-s", "-P", "-m", "preflab.sandbox.checker", SOURCE)
SCRIPT: tuple[str, ...] = (PYTHON, "-s", "-P", SOURCE)
ENVIRONMENT = {
    "PATH": "/python/bin:/bin",
    "HOME": "/tmp",
    "LOGNAME": "nobody",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "1",
    "PYTHONINTMAXSTRDIGITS": "0",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Descriptors(NamedTuple):
    """What a starting sandbox reads and writes: the program's `source`, the `filter` of calls, `status` (where it reports
    `{"child-pid": N}` when it stands and `{"exit-code": N}` when it has ended, a line each), `hold` (it waits until something
    can be read there)."""

    source: int
    filter: int
    status: int
    hold: int


class Start(NamedTuple):
    """How to start a sandboxed process: the command, and the user to start it as (None: as we are)."""

    command: list[str]
    user: int | None


class Walls(Protocol):
    """`filter`: what is to be read from the descriptor of that name."""

    @property
    def filter(self) -> bytes: ...

    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> Start:
        """Where `run` says `PYTHON` and `SOURCE`, the interpreter and the program's source as they lie inside."""
        ...
