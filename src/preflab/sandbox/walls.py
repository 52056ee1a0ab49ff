"""What a backend offers: a way to start a command between its walls. `process` does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

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


class Walls(ABC):
    """A backend, opened. `filter`: what is to be read from the descriptor of that name. `not_stopped`: what a program may do
    in spite of it, in words, of which every judge that uses it is warned; empty where there is nothing."""

    filter: bytes = b""
    not_stopped: str = ""

    @abstractmethod
    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> Start:
        """How to start `run`. Where it says `PYTHON` and `SOURCE`, the interpreter and the program's source are meant, as they
        lie inside."""
