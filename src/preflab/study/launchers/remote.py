"""The base class of launchers that start runs on the machines of a cluster.

A subclass starts a command for each order file, says whether a job is over, and stops a job. The run itself says how it
ended, in its current attempt on the shared file system. What the cluster says about a job matters only if the job is over
and no attempt has ended: the cluster has then lost the job, and the run is started again from its last checkpoint.
"""

from __future__ import annotations

import os
import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pydantic import Field

from preflab.arm.planned import Planned
from preflab.study.launchers.attempts import attempts_of, order_file, publish, read_ending
from preflab.study.launchers.base import LOST, LaunchedRun, Launcher, LauncherSpec, Order
from preflab.study.launchers.node import NodeOrder
from preflab.train.files import write_json
from preflab.train.log import logger

Settings = TypeVar("Settings", bound="RemoteSpec")
Handle = TypeVar("Handle")
"""A cluster's own object for a job."""


class RemoteSpec(LauncherSpec):
    """The settings that launchers for clusters share.

    `jobs`: the largest number of runs that are submitted at a time. `retries`: how often a run is started again after the
    cluster has lost it. `environment`: further environment variables of each run.
    """

    jobs: int = Field(default=200, ge=1)
    retries: int = Field(default=3, ge=0)
    environment: Mapping[str, str] = {}


class Ticket(NamedTuple):
    """What a machine of the cluster needs to execute a run. `token`: the random word in the order file. If the order file
    contains another token, the order was replaced, and the machine must not execute it."""

    run: Planned
    token: str

    @property
    def order_file(self) -> Path:
        return order_file(self.run.directory).absolute()


class RemoteLauncher(Launcher, Generic[Settings, Handle]):
    """Starts runs on the machines of a cluster."""

    poll_seconds: ClassVar[float] = 1.0

    def __init__(self, spec: Settings) -> None:
        self.spec = spec

    @abstractmethod
    def start(self, tickets: Sequence[Ticket]) -> list[Handle]:
        """Starts a job for each ticket. The job calls `NodeRun(order_file, token).execute()` on a machine."""

    @abstractmethod
    def is_over(self, handle: Handle) -> bool:
        """Returns True if the cluster will not execute the job any more, whatever the reason."""

    @abstractmethod
    def stop(self, handle: Handle) -> None:
        """Asks the cluster to stop a job. Returns at once."""

    @abstractmethod
    def describe_fault(self, handle: Handle) -> str:
        """Returns what the cluster says about a job that is over and whose run has not ended; '' if it says nothing."""

    def collect(self, handle: Handle, run: Planned) -> None:
        """Brings the files of a job that is over into the study's directory."""

    def admit(self, ready: Sequence[Planned], running: Sequence[LaunchedRun]) -> Sequence[Planned]:
        """Returns all ready runs up to the limit `jobs`: the cluster has a queue."""
        return ready[: max(0, self.spec.jobs - len(running))]

    def submit(self, orders: Sequence[Order]) -> list[LaunchedRun]:
        tickets = [self.place_order(order) for order in orders]
        handles = self.start(tickets) if tickets else []
        return [RemoteRun(order, self, handle) for order, handle in zip(orders, handles, strict=True)]

    def place_order(self, order: Order) -> Ticket:
        """Writes the order file of a run. An earlier order for this run is void then."""
        ticket = Ticket(order.run, secrets.token_hex(8))
        content = NodeOrder(
            token=ticket.token,
            directory=str(order.run.directory.absolute()),
            content=order.content,
            threads=order.run.spec.threads,
            folder=os.getcwd(),
            environment=dict(self.spec.environment),
        )
        ticket.order_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(ticket.order_file, content.model_dump())
        return ticket


class RemoteRun(LaunchedRun):
    """A run on a cluster."""

    def __init__(self, order: Order, launcher: RemoteLauncher[Any, Any], handle: Any) -> None:
        super().__init__(order.run)
        self._order = order
        self._launcher = launcher
        self._handle = handle
        self._retries = launcher.spec.retries
        self._fault = ""

    @property
    def directory(self) -> Path:
        attempts = attempts_of(self.run.directory)
        return attempts[-1] if attempts else self.run.directory

    def poll(self) -> int | None:
        is_over = self._launcher.is_over(self._handle)  # before the ending is read: a job that is over writes no more
        if is_over:
            self._launcher.collect(self._handle, self.run)
        attempts = attempts_of(self.run.directory)
        code = read_ending(attempts[-1]) if attempts else None
        if code == 0:
            publish(attempts[-1], self.run.directory)
        return self._start_again() if code is None and is_over else code

    def _start_again(self) -> int | None:
        """Starts a lost job again. Returns the exit code `LOST` if it was lost too often."""
        self._fault = self._launcher.describe_fault(self._handle)
        if self._retries == 0:
            return LOST
        self._retries -= 1
        logger.warning("%s was lost and is started again: %s", self.run.label, self._fault or "no reason is known")
        self._handle = self._launcher.start([self._launcher.place_order(self._order)])[0]
        return None

    def is_running(self) -> bool:
        return not self._launcher.is_over(self._handle)

    def cancel(self) -> None:
        self._launcher.stop(self._handle)

    def last_lines(self, count: int) -> str:
        return self._fault or super().last_lines(count)
