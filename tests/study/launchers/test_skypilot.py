"""The example of a user's own launcher: `examples/skypilot`. SkyPilot is replaced by a module that runs the task's command
in a shell of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from preflab.study.launchers.base import Order, StudyPlace
from preflab.study.launchers.site import choose_launcher
from preflab.study.load import load_study
from preflab.study.plan import planned_runs


class Task(SimpleNamespace):
    """A task file as SkyPilot reads it."""

    @classmethod
    def from_yaml(cls, path: str) -> Task:
        return cls(**yaml.safe_load(Path(path).read_text()))

    def update_envs(self, envs: dict[str, str]) -> None:
        self.envs |= envs


class Jobs:
    """SkyPilot's managed jobs. `home`: the home directory of the tasks."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.processes: list[subprocess.Popen[bytes]] = []
        self.cancelled: list[int] = []

    def launch(self, task: Task, name: str) -> tuple[int, None]:
        environment = {**os.environ, **task.envs, "HOME": str(self.home)}
        self.processes.append(subprocess.Popen(["bash", "-c", task.run], env=environment))
        return len(self.processes) - 1, None

    def queue(self, refresh: bool) -> list[dict[str, Any]]:
        def status(process: subprocess.Popen[bytes]) -> SimpleNamespace:
            return SimpleNamespace(is_terminal=lambda: process.poll() is not None, value="FAILED")

        return [{"job_id": i, "status": status(process)} for i, process in enumerate(self.processes)]

    def cancel(self, job_ids: list[int]) -> None:
        self.cancelled += job_ids


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Jobs:
    """The jobs of a `sky` whose machines have preflab where `task.yaml` installs it."""
    python = tmp_path / "home" / "preflab" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    jobs = Jobs(tmp_path / "home")
    sky = ModuleType("sky")
    vars(sky).update(Task=Task, jobs=jobs, get=lambda answer: answer)
    monkeypatch.setitem(sys.modules, "sky", sky)
    monkeypatch.syspath_prepend(repository / "examples" / "skypilot")
    yield jobs
    sys.modules.pop("skypilot_launcher", None)


def test_a_users_own_launcher(jobs: Jobs, tmp_path: Path) -> None:
    """`--on skypilot_launcher:SkyPilot` starts the command of `task.yaml`, which executes the order: here a run file with
    a mistake, which ends with code 2 and says why. Stopping a job cancels it by its number."""
    study = tmp_path / "study"
    run = next(planned_runs(load_study("smoke"), study))
    with choose_launcher("skypilot_launcher:SkyPilot").open(StudyPlace(study, 1.0)) as launcher:
        [job] = launcher.submit([Order(run, {"name": "sft", "sead": 0})])
        job.cancel()
        while job.poll() is None:
            launcher.wait()
    assert job.poll() == 2
    assert "unknown key `sead`" in job.last_lines(3)
    assert jobs.cancelled == [0]
    assert len(jobs.processes) == 1
