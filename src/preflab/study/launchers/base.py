"""The interface of launchers: the settings `LauncherSpec`, the opened `Launcher` and the `LaunchedRun` that it starts.

The runner asks a launcher which runs to start now, submits them, and polls their jobs until they end. It does not know
where they run. This module does not import torch.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from preflab.arm.planned import Planned
from preflab.errors import UserError
from preflab.spec import Spec
from preflab.train.log import RUN_LOG

LOST = 75
"""The exit code of a job that its cluster has lost (EX_TEMPFAIL of sysexits.h)."""


class Order(NamedTuple):
    """A run to start. `content`: the content of the run file."""

    run: Planned
    content: dict[str, Any]


class LaunchedRun(ABC):
    """A run that a launcher has started."""

    def __init__(self, run: Planned) -> None:
        self.run = run

    @property
    @abstractmethod
    def directory(self) -> Path:
        """The directory in which the run writes now: its metrics, and its log `run.log`."""

    @abstractmethod
    def poll(self) -> int | None:
        """Returns the exit code of the run, or None if the run has not ended. A code below 0 is the signal that killed
        the run. After the exit code 0, the run's files are in the directory that the study planned."""

    @abstractmethod
    def is_running(self) -> bool:
        """Returns True while a process may still write in the run's directory."""

    @abstractmethod
    def cancel(self) -> None:
        """Asks the run to write a checkpoint and to end. Returns at once."""

    def last_lines(self, count: int) -> str:
        """Returns the last lines of the run's log, for an error message."""
        log = self.directory / RUN_LOG
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return "\n".join(text.strip().splitlines()[-count:])


class Launcher(ABC):
    """Starts the runs of one study."""

    poll_seconds: ClassVar[float] = 0.1
    """How long the runner waits before it polls the jobs again."""

    @abstractmethod
    def admit(self, ready: Sequence[Planned], running: Sequence[LaunchedRun]) -> Sequence[Planned]:
        """Returns the runs to start now, in order. `ready`: the runs that wait for no other run. `running`: the jobs
        that have not ended. Returns at least one run if nothing is running, so that a study always goes on."""

    @abstractmethod
    def submit(self, orders: Sequence[Order]) -> list[LaunchedRun]:
        """Starts runs that `admit` returned."""

    def wait(self) -> None:
        """Waits until it is worth polling again."""
        time.sleep(self.poll_seconds)


@dataclass(frozen=True)
class StudyPlace:
    """What a launcher must know about the study. `directory`: the study's directory. `memory_gb`: the memory of one run
    in GiB."""

    directory: Path
    memory_gb: float


class LauncherSpec(Spec):
    """The base class of the settings of a launcher."""

    belongs: ClassVar[str] = "a launcher: it belongs under --on or in the site file"

    def at(self, address: str) -> LauncherSpec:
        """Returns the settings for the address in `--on NAME:ADDRESS`. Raises `UserError` if this launcher takes no
        address."""
        raise UserError(f"--on {self.kind_name}:{address}: the launcher {self.kind_name!r} takes no address.")

    @abstractmethod
    def open(self, place: StudyPlace) -> AbstractContextManager[Launcher]:
        """Connects to the place where the runs will run. Raises `UserError` if this is impossible."""
