"""What a study does with runs on a cluster: lost jobs, stale processes, replaced orders, interruptions.

The launcher, the attempts and the machine's side of it are the real ones. The cluster is threads of this process, and the
runs are stubs that train nothing. `test_ray.py` and `test_slurm.py` use real clusters.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.planned import Planned
from preflab.arm.process import PARENT
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study import runner
from preflab.study.directory import RUN_FILE
from preflab.study.launchers import node
from preflab.study.launchers.attempts import attempts_of, begin_attempt, order_file, write_ending
from preflab.study.launchers.base import Order, StudyPlace
from preflab.study.launchers.local import _become
from preflab.study.launchers.node import NodeOrder, NodeRun
from preflab.study.launchers.remote import RemoteLauncher, RemoteSpec, Ticket
from preflab.study.plan import planned_runs
from preflab.study.runner import Failures, charged_spec, run_all
from preflab.study.spec import Study
from preflab.study.watch import Watch

sys.path.insert(0, str(Path(__file__).parent.parent))  # specs name the classes of the stubs
import stub


class Spec(RemoteSpec):
    """The settings of a cluster of threads."""

    def open(self, place: StudyPlace) -> Any:
        raise NotImplementedError


class Machine(threading.Thread):
    """Executes one ticket. `error`: what its run raised."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(daemon=True)
        self.ticket = ticket
        self.run_here = NodeRun(ticket.order_file, ticket.token)
        self.error = ""

    def run(self) -> None:
        try:
            self.run_here.execute()
        except UserError as error:
            self.error = str(error)


class Threads(RemoteLauncher[Spec, Machine]):
    """A cluster of threads. `started`: the labels of all jobs. `silent`: how many jobs are lost before they begin."""

    poll_seconds = 0.02

    def __init__(self, silent: int = 0, **settings: Any) -> None:
        super().__init__(Spec.model_validate(settings))
        self.silent = silent
        self.started: list[str] = []

    def start(self, tickets: Sequence[Ticket]) -> list[Machine]:
        machines = [Machine(ticket) for ticket in tickets]
        for machine in machines:
            self.started.append(machine.ticket.run.name)
            if self.silent:
                self.silent -= 1
                machine.run_here.execute = lambda: 0
            machine.start()
        return machines

    def is_over(self, handle: Machine) -> bool:
        return not handle.is_alive()

    def stop(self, handle: Machine) -> None:
        threading.Thread(target=handle.run_here.stop).start()

    def describe_fault(self, handle: Machine) -> str:
        return handle.error or "the machine went away"


def logged_stub(run_file: Path, directory: Path) -> int:
    """A stub that writes its errors into its log: under pytest, `sys.stderr` is another file."""
    sys.stderr = os.fdopen(2, "w", buffering=1)
    return stub.stub_process(run_file, directory)


class Fork:
    """A process with the interface of `subprocess.Popen`. A fork starts at once; a new interpreter would take a second."""

    def __init__(self, order: NodeOrder, attempt: Path) -> None:
        environment = {**order.environment, PARENT: str(os.getpid()), "OMP_NUM_THREADS": "1"}
        with (attempt / "run.log").open("ab") as log:
            arguments = (logged_stub, attempt / RUN_FILE, attempt, environment, log.fileno())
            self._process = multiprocessing.get_context("fork").Process(target=_become, args=arguments)
            self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    returncode = property(poll)


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of a run is a stub."""
    monkeypatch.setattr(node, "start_run", Fork)
    monkeypatch.setattr(node, "_POLL_SECONDS", 0.02)


def planned(directory: Path, **ends: str) -> list[Planned]:
    """The runs of one stage and the arms `dpo` and `ppo` that need it. `ends`: how a run ends, by name."""

    def job(name: str, **fields: str) -> dict[str, Any]:
        return {"method": {"kind": "stub:Work", "end": ends.get(name, "well")}, **fields}

    plain = {
        "name": "stubs",
        "testbed": {"kind": "minicode", "train": 4, "validation": 2, "test": 2},
        "sampler": {"kind": "stub:Idle"},
        "evaluator": {"kind": "stub:Blind"},
        "seeds": 1,
        "stages": {"sft": job("sft")},
        "arms": {name: job(name, init="stage:sft") for name in ("dpo", "ppo")},
    }
    return list(planned_runs(parse_spec(Study, plain, where="test"), directory))


def run_here(runs: Sequence[Planned], launcher: Threads) -> Failures:
    return run_all(runs, launcher=launcher, watch=Watch(len(runs), quiet=True))


def test_a_study_on_a_cluster_leaves_what_a_local_one_leaves(tmp_path: Path) -> None:
    """Every run is done, at the place that the study planned, and no attempt and no order is left."""
    runs = planned(tmp_path)
    launcher = Threads()
    assert run_here(runs, launcher) == {}
    assert all(runner.is_done(run) for run in runs)
    assert launcher.started[0] == "sft"
    left = [path.name for path in tmp_path.rglob("*") if ".attempt-" in path.name or path.name.endswith(".order.json")]
    assert left == []
    again = Threads()
    assert run_here(runs, again) == {} and again.started == []


def test_a_lost_job_is_started_again(tmp_path: Path) -> None:
    """The first two jobs of the stage end without a word. The third one does the work."""
    launcher = Threads(silent=2)
    assert run_here(planned(tmp_path), launcher) == {}
    assert launcher.started == ["sft", "sft", "sft", "dpo", "ppo"]


def test_a_job_that_is_lost_too_often_fails(tmp_path: Path) -> None:
    failures = run_here(planned(tmp_path), Threads(silent=3, retries=2))
    assert list(failures.values()) == [
        f"sft (seed 0) ended with code 75 (the machine went away); see {tmp_path}/seed-0/stages/sft/run.log",
        "dpo (seed 0) needs sft, which failed",
        "ppo (seed 0) needs sft, which failed",
    ]


def test_the_failure_of_a_run_is_that_of_its_log(tmp_path: Path) -> None:
    """A failed run is not started again: it would fail again. The sentence names the log of the attempt."""
    launcher = Threads()
    failures = run_here(planned(tmp_path, ppo="broken"), launcher)
    log = tmp_path / "seed-0" / "ppo.attempt-1" / "run.log"
    assert list(failures.values()) == [f"ppo (seed 0) ended with code 1 (something broke); see {log}"]
    assert launcher.started.count("ppo") == 1


def test_a_mistake_of_the_user_stops_the_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ppo .seed 0. cannot run:\npreflab: The stub is refused"):
        run_here(planned(tmp_path, ppo="refused"), Threads())
    assert not list(tmp_path.glob("seed-0/ppo*"))


def test_at_most_so_many_jobs_are_submitted(tmp_path: Path) -> None:
    """With one job at a time, the second arm is submitted when the first has ended."""
    runs = planned(tmp_path)
    launcher = Threads(jobs=1)
    assert launcher.admit(runs, []) == runs[:1]
    assert run_here(runs, launcher) == {}
    assert launcher.admit(runs, [object()]) == []


def test_a_stale_process_is_never_read(tmp_path: Path) -> None:
    """The cluster lost sight of a process that still writes in attempt 1, and the study's new job writes in attempt 2.
    The old process ends first and well; the study waits for attempt 2."""
    run = planned(tmp_path)[0]
    launcher = Threads()
    stale = begin_attempt(run.directory)
    [job] = launcher.submit([Order(run, charged_spec(run))])
    job_machine = job._handle
    write_ending(stale, 0)
    (stale / "stale").touch()
    job_machine.join()
    assert job.poll() == 0
    assert not (run.directory / "stale").exists()
    assert runner.is_done(run)


def test_an_ending_of_an_older_attempt_is_not_the_runs_ending(tmp_path: Path) -> None:
    """The job's own attempt is not the current one any more: the study starts the run again and reads the newest."""
    run = planned(tmp_path)[0]
    launcher = Threads()
    [job] = launcher.submit([Order(run, charged_spec(run))])
    job._handle.join()
    begin_attempt(run.directory)  # another process took over
    assert job.poll() is None
    assert launcher.started == ["sft", "sft"]
    job._handle.join()
    assert job.poll() == 0
    assert attempts_of(run.directory) == []


def test_a_replaced_order_is_not_executed(tmp_path: Path) -> None:
    """A job of an earlier study process waited in the queue. When it starts, a newer order lies there: it does nothing."""
    run = planned(tmp_path)[0]
    launcher = Threads()
    old = launcher.place_order(Order(run, charged_spec(run)))
    launcher.place_order(Order(run, charged_spec(run)))
    with pytest.raises(UserError, match="was replaced by a newer one"):
        NodeRun(old.order_file, old.token).execute()
    assert attempts_of(run.directory) == []


def test_a_stopped_run_has_not_ended(tmp_path: Path) -> None:
    """A cluster stops a job to put it into the queue again. Its attempt has no ending, and the next one continues it."""
    run = planned(tmp_path, sft="waits")[0]
    launcher = Threads()
    [job] = launcher.submit([Order(run, charged_spec(run))])
    while not (tmp_path / "events").exists():
        launcher.wait()
    job.cancel()
    job._handle.join()
    assert not job.is_running()
    assert not (job.directory / "ending.json").exists()
    assert [line.split()[0] for line in (tmp_path / "events").read_text().splitlines()] == ["begin", "stop"]
    assert job.poll() is None  # it is over without an ending, and is started again
    assert launcher.started == ["sft", "sft"]
    (job.directory / "go").touch()
    while job.poll() is None:
        launcher.wait()
        for attempt in attempts_of(run.directory):
            (attempt / "go").touch()
    assert runner.is_done(run)


def test_the_order_holds_what_a_machine_needs(tmp_path: Path) -> None:
    """The order file alone starts a run: the planned directory, the run file, the working directory, the variables."""
    run = planned(tmp_path)[0]
    launcher = Threads(environment={"HF_HOME": "/data/hub"})
    ticket = launcher.place_order(Order(run, {"name": "sft"}))
    order = json.loads(order_file(run.directory).read_text())
    assert order == {
        "token": ticket.token,
        "directory": str(run.directory),
        "content": {"name": "sft"},
        "threads": 1,
        "folder": os.getcwd(),
        "environment": {"HF_HOME": "/data/hub"},
    }


def test_the_command_of_a_machine(tmp_path: Path) -> None:
    """`python -m preflab.study.launchers.node ORDER TOKEN`, for clusters that start commands: SIGTERM stops it. A token
    of another order is a mistake of the user."""
    run = planned(tmp_path)[0]
    ticket = Threads().place_order(Order(run, {"name": "sft"}))
    command = [sys.executable, "-m", "preflab.study.launchers.node", str(ticket.order_file)]
    done = subprocess.run([*command, "other"], capture_output=True, text=True, check=False)
    assert (done.returncode, "was replaced by a newer one" in done.stderr) == (2, True)
    assert signal.SIGTERM + 128 in node.STOPPED
