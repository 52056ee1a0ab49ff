"""A launcher of your own: each run of a study is a managed job of SkyPilot.

    pip install skypilot        # and the cloud that you use, see docs.skypilot.co
    PYTHONPATH=examples/skypilot preflab study quickstart --output /study/quickstart --on skypilot_launcher:SkyPilot

A launcher starts a command, says whether the cluster still works on it, and stops it. Everything else (attempts, lost
jobs, exact resume, the limit of jobs at a time) is the same for every cluster. `task.yaml` describes the machine and the
command. The study's directory must lie on a volume that all machines mount under the same path, here `/study`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sky  # pyright: ignore[reportMissingImports]  # not a dependency of preflab

from preflab.study.launchers.base import Launcher, StudyPlace
from preflab.study.launchers.remote import RemoteLauncher, RemoteSpec, Ticket

TASK = Path(__file__).with_name("task.yaml")


class SkyPilot(RemoteSpec):
    """The settings of the launcher. `task`: the task file, which says what machine a run needs."""

    kind: Literal["skypilot"] = "skypilot"
    task: str = str(TASK)

    @contextmanager
    def open(self, place: StudyPlace) -> Generator[Launcher]:
        yield SkyPilotLauncher(self)


class SkyPilotLauncher(RemoteLauncher[SkyPilot, int]):
    """Submits runs as managed jobs. The handle of a job is its number."""

    def start(self, tickets: Sequence[Ticket]) -> list[int]:
        return [self._start(ticket) for ticket in tickets]

    def _start(self, ticket: Ticket) -> int:
        task = sky.Task.from_yaml(self.spec.task)
        task.update_envs({"ORDER": str(ticket.order_file), "TOKEN": ticket.token})
        number, _ = sky.get(sky.jobs.launch(task, name=f"preflab-{ticket.token}"))
        return number

    def is_over(self, handle: int) -> bool:
        record = self._find(handle)
        return record is not None and record["status"].is_terminal()

    def stop(self, handle: int) -> None:
        sky.jobs.cancel(job_ids=[handle])

    def describe_fault(self, handle: int) -> str:
        record = self._find(handle)
        return "" if record is None else str(record.get("failure_reason") or record["status"].value)

    def _find(self, number: int) -> dict[str, Any] | None:
        """Returns SkyPilot's record of a job, or None if SkyPilot does not list the job yet."""
        records = sky.get(sky.jobs.queue(refresh=False))
        return next((record for record in records if record["job_id"] == number), None)
