"""Starts runs as tasks of a Ray cluster.

The machines either share the file system of the study's directory, or the files are carried: the task gets the outputs
that its run needs through Ray's object store, which keeps one copy on each machine, and returns the run's directory.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

from pydantic import Field

from preflab.arm.planned import Planned
from preflab.errors import UserError
from preflab.study.launchers.attempts import attempts_of, create_attempt, order_file
from preflab.study.launchers.base import Launcher, LauncherSpec, StudyPlace
from preflab.study.launchers.carry import pack_directory, unpack_directory
from preflab.study.launchers.node import NodeRun
from preflab.study.launchers.remote import RemoteLauncher, RemoteSpec, Ticket
from preflab.text import one_line
from preflab.train.files import read_json, write_json

RayTask = Any
"""A reference of Ray (`ray.ObjectRef`) to the result of a task: the exit code of the run, or its packed attempt."""
_LONGEST_FAULT = 300
"""The largest number of characters that are quoted from an error of Ray."""


class Ray(RemoteSpec):
    """Starts the runs of a study as tasks of a Ray cluster.

    `address`: the address of the cluster, such as "ray://head:10001"; None for the cluster of this machine, which is
    started if there is none. `gpus`: the GPUs of a run. `resources`: other resources of a run that the cluster defines.
    `spread`: whether to spread the runs over the machines; otherwise Ray fills one machine after the other. `shared`:
    whether all machines see the study's directory under the same path. If not, the files of each run are carried, and a
    run whose machine is lost begins anew.
    """

    kind: Literal["ray"] = "ray"
    address: str | None = None
    gpus: float = Field(default=0, ge=0)
    resources: Mapping[str, float] = {}
    spread: bool = True
    shared: bool = True

    def at(self, address: str) -> LauncherSpec:
        return self.model_copy(update={"address": address})

    @contextmanager
    def open(self, place: StudyPlace) -> Generator[Launcher]:
        ray = import_ray()
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"The Ray cluster at {self.address or 'this machine'} cannot be used: {error}") from error
        try:
            yield RayLauncher(ray, self, place)
        finally:
            ray.shutdown()


def import_ray() -> Any:
    """Returns the module `ray`. Raises `UserError` if it is not installed."""
    try:
        import ray  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UserError("The launcher `ray` needs Ray. Install it: pip install 'preflab[ray]'.") from error
    return ray


class RayLauncher(RemoteLauncher[Ray, RayTask]):
    """Submits runs to a Ray cluster. `ray`: the module."""

    def __init__(self, ray: Any, spec: Ray, place: StudyPlace) -> None:
        super().__init__(spec)
        self._ray = ray
        self._memory = int(place.memory_gb * 2**30)
        self._home = place.directory
        self._packed: dict[Path, Any] = {}

    def start(self, tickets: Sequence[Ticket]) -> list[RayTask]:
        return [self._start(ticket) for ticket in tickets]

    def _start(self, ticket: Ticket) -> RayTask:
        options: dict[str, Any] = {
            "name": ticket.run.label,
            "num_cpus": ticket.run.spec.threads,
            "num_gpus": self.spec.gpus,
            "memory": self._memory,
            "resources": dict(self.spec.resources),
            "scheduling_strategy": "SPREAD" if self.spec.spread else "DEFAULT",
            "max_retries": 0,  # the study starts a lost run again
        }
        if self.spec.shared:
            shared = self._ray.remote(execute_shared)
            return shared.options(**options).remote(str(ticket.order_file), ticket.token)
        carried = self._ray.remote(execute_carried)
        needs = dict.fromkeys((*ticket.run.needs, *ticket.run.waits))
        order = read_json(ticket.order_file) | {"directory": str(self._locate(ticket.run.directory))}
        return carried.options(**options).remote(order, *(self._pack_once(need) for need in needs))

    def _locate(self, directory: Path) -> Path:
        """Returns the path of a run's directory in the study's directory."""
        return directory.relative_to(self._home)

    def _pack_once(self, directory: Path) -> Any:
        """Puts the files of a finished run into the object store, and returns the reference to them."""
        if directory not in self._packed:
            self._packed[directory] = self._ray.put(pack_directory(directory, str(self._locate(directory))))
        return self._packed[directory]

    def is_over(self, handle: RayTask) -> bool:
        return bool(self._ray.wait([handle], timeout=0)[0])

    def stop(self, handle: RayTask) -> None:
        self._ray.cancel(handle)

    def describe_fault(self, handle: RayTask) -> str:
        try:
            self._ray.get(handle)
        except self._ray.exceptions.RayError as error:
            return shorten(one_line(str(error)), _LONGEST_FAULT)
        return ""

    def collect(self, handle: RayTask, run: Planned) -> None:
        if not self.spec.shared:
            with suppress(self._ray.exceptions.RayError):  # the task was lost, and `describe_fault` says why
                unpack_directory(self._ray.get(handle), create_attempt(run.directory))


def execute_shared(order_file: str, token: str) -> int:
    """Executes a run whose order file this machine sees. Returns the exit code."""
    return NodeRun(Path(order_file), token).execute()


def execute_carried(order: dict[str, Any], *inputs: bytes) -> bytes:
    """Executes a run in a temporary directory of this machine. `order`: the content of the order file, with the run's
    directory relative to the study's directory. `inputs`: the packed outputs that the run needs. Returns the packed
    attempt."""
    with tempfile.TemporaryDirectory(prefix="preflab-") as home:
        for packed in inputs:
            unpack_directory(packed, Path(home))
        directory = Path(home) / order["directory"]
        directory.parent.mkdir(parents=True, exist_ok=True)
        write_json(order_file(directory), order | {"directory": str(directory)})
        NodeRun(order_file(directory), order["token"]).execute()
        return pack_directory(attempts_of(directory)[-1], ".")
