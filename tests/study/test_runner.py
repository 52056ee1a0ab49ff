"""What a study does with its arms as processes: order, admission, failures, what is done, and deaths of every kind.

The runner, its locks, signals and processes are the real ones; the arms are stubs (`stub.py`) that train nothing.
`test_kill.py` does the same with real arms.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from preflab.arm import process
from preflab.arm.process import THREAD_VARIABLES

HERE = Path(__file__).parent


def study(**changes: Any) -> dict[str, Any]:
    """Two stages, one after the other, and two arms that need them."""
    plain: dict[str, Any] = {
        "name": "stubs",
        "testbed": {"kind": "minicode", "train": 4, "validation": 2, "test": 2},
        "sampler": {"kind": "stub:Idle"},
        "evaluator": {"kind": "stub:Blind"},
        "seeds": 1,
        "stages": {"sft": work(), "pairs": work(kind="stub:Pairing", init="stage:sft")},
        "arms": {"dpo": work(init="stage:sft", preferences="stage:pairs"), "ppo": work(init="stage:sft")},
    }
    return {**plain, **changes}


def work(end: str = "well", kind: str = "stub:Work", **job: str) -> dict[str, Any]:
    return {"method": {"kind": kind, "end": end}, **job}


class Event(NamedTuple):
    what: str
    run: str
    pid: int


class Driver:
    """`drive.py` on a study, in a directory."""

    def __init__(self, place: Path) -> None:
        self.directory = place / "study"
        self.file = place / "study.yaml"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, content: dict[str, Any], cores: int | None = None) -> subprocess.Popen[str]:
        self.file.write_text(yaml.safe_dump(content))
        command = [sys.executable, str(HERE / "drive.py"), str(self.file), str(self.directory)]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores])), *command]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def run(self, content: dict[str, Any], cores: int | None = None) -> tuple[int, str]:
        """Exit code and output of the study, to its end."""
        running = self.start(content, cores)
        output, _ = running.communicate(timeout=60)
        return running.returncode, output

    def events(self, what: str | None = None) -> list[Event]:
        path = self.directory / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        events = [Event(word, run, int(pid)) for word, run, pid in map(str.split, lines)]
        return [event for event in events if what in (None, event.what)]

    def began(self) -> list[str]:
        return [event.run for event in self.events("begin")]

    def forget_events(self) -> None:
        (self.directory / "events").unlink(missing_ok=True)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path)
    yield driver
    for running in driver.started:
        running.kill()
        running.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in 30 s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# -- order and admission ------------------------------------------------------------------------------------------------


def test_stages_first_and_one_core_at_a_time(driver: Driver) -> None:
    """On one core nothing overlaps; an arm begins after all stages that it needs; threads are pinned to its share."""
    assert driver.run(study(), cores=1) == (0, "\n")
    events = driver.events()
    assert [event.what for event in events] == ["begin", "end"] * 4
    began = driver.began()
    assert began[0] == "seed-0/stages/sft"
    assert began.index("seed-0/stages/pairs") < began.index("seed-0/dpo")
    manifest = json.loads((driver.directory / "seed-0/ppo/manifest.json").read_text())
    assert manifest["threads"] == "1"
    driver.forget_events()
    assert driver.run(study(seeds=2, threads=2), cores=1)[0] == 2  # seed 0 was run with one thread: another spec


def test_an_arm_that_wants_more_than_there_is_runs_alone(driver: Driver) -> None:
    """A run that needs more cores than there are still starts, alone."""
    assert driver.run(study(threads=3), cores=1) == (0, "\n")
    assert [event.what for event in driver.events()] == ["begin", "end"] * 4
    assert json.loads((driver.directory / "seed-0/ppo/manifest.json").read_text())["threads"] == "3"


# -- failures -----------------------------------------------------------------------------------------------------------


def test_killed_arm_leaves_the_others_running(driver: Driver) -> None:
    """SIGKILL, as by the kernel when memory runs out: the output says so, the exit code is 1, and everything else is done."""
    content = study()
    content["arms"]["dpo"]["method"]["end"] = "killed"
    code, said = driver.run(content)
    assert code == 1
    assert said.startswith("dpo (seed 0) was killed, most likely for memory; see ")
    assert {event.run for event in driver.events("end")} == {"seed-0/stages/sft", "seed-0/stages/pairs", "seed-0/ppo"}


@pytest.mark.parametrize(
    ("end", "reason"), [("broken", "ended with code 1 (something broke)"), ("diverged", "diverged")]
)
def test_what_stands_on_a_failure_fails_with_it(driver: Driver, end: str, reason: str) -> None:
    """A stage that breaks, or whose training diverged, has no model to go on from; what needs none of it goes on. The last line
    of the log says why it broke."""
    content = study()
    content["stages"]["pairs"]["method"]["end"] = end
    code, said = driver.run(content)
    assert code == 1
    assert said.splitlines()[0].startswith(f"pairs (seed 0) {reason}; see ")
    assert said.splitlines()[1] == "dpo (seed 0) needs pairs, which failed"
    assert "seed-0/ppo" in {event.run for event in driver.events("end")}
    assert "seed-0/dpo" not in driver.began()


def test_the_log_of_an_arm_is_its_own(driver: Driver) -> None:
    """The output of a run, and the error that ends it, are in `run.log` in its directory."""
    content = study(arms={"ppo": work("broken", init="stage:sft")})
    assert driver.run(content)[0] == 1
    assert (driver.directory / "seed-0/ppo/run.log").read_text() == "something broke\n"


def test_a_pipe_in_the_place_of_a_log_is_refused(driver: Driver) -> None:
    """Protects a study from waiting for ever for somebody who reads the log."""
    place = driver.directory / "seed-0/stages/sft"
    place.mkdir(parents=True)
    os.mkfifo(place / "run.log")
    code, said = driver.run(study())
    assert code == 2 and "run.log is not a regular file" in said
    assert [path.name for path in place.iterdir()] == ["run.log"]


# -- what is done -------------------------------------------------------------------------------------------------------


def test_a_study_grows(driver: Driver) -> None:
    """More seeds, and another arm, run what is new and nothing else."""
    assert driver.run(study())[0] == 0
    driver.forget_events()
    assert driver.run(study(seeds=2))[0] == 0
    assert set(driver.began()) == {f"seed-1/{name}" for name in ("stages/sft", "stages/pairs", "dpo", "ppo")}
    driver.forget_events()
    content = study(seeds=2)
    content["arms"]["base"] = {"policy": "stage:sft"}
    assert driver.run(content)[0] == 0
    assert set(driver.began()) == {"seed-0/base", "seed-1/base"}


def keep_results_only(directory: Path) -> None:
    """What is committed of a study: results, manifests and metrics; no weights."""
    for path in [*directory.rglob("final"), *directory.rglob("journal")]:
        shutil.rmtree(path)
    for path in directory.rglob("*"):
        if path.is_file() and path.name not in ("result.json", "manifest.json", "metrics.jsonl", "python"):
            path.unlink()


def test_results_without_weights_count_as_done(driver: Driver) -> None:
    """Nothing runs, and a stage is made again if and only if a run that is not done needs it directly."""
    assert driver.run(study())[0] == 0
    keep_results_only(driver.directory)
    assert driver.run(study()) == (0, "\n")
    assert driver.events() == []
    (driver.directory / "seed-0/ppo/result.json").unlink()
    assert driver.run(study())[0] == 0
    assert driver.began() == ["seed-0/stages/sft", "seed-0/ppo"]
    driver.forget_events()
    (driver.directory / "seed-0/dpo/result.json").unlink()
    assert driver.run(study())[0] == 0
    assert driver.began() == ["seed-0/stages/pairs", "seed-0/dpo"]  # sft's product is there again


def test_a_charge_that_comes_out_differently_keeps_what_is_done(driver: Driver) -> None:
    """A stage made again elsewhere may have sampled other lengths: the arms' own results still stand."""
    content = study(budget={"unit": "compute", "amount": 1e6})
    assert driver.run(content)[0] == 0
    assert json.loads((driver.directory / "seed-0/dpo/manifest.json").read_text())["spec"]["budget"]["charged"] == 200
    path = driver.directory / "seed-0/stages/pairs/result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "counts": {**result["counts"], "flops": 101.0}}))
    driver.forget_events()
    assert driver.run(content) == (0, "\n")
    assert driver.events() == []


def test_another_spec_is_refused(driver: Driver) -> None:
    """The user decides what to do with settings that changed since a run was made; the message names the run and the field."""
    assert driver.run(study())[0] == 0
    code, said = driver.run(study(looks=7))
    assert code == 2
    assert "sft (seed 0) cannot run:" in said
    assert "it differs in looks" in said


def test_a_refused_arm_claims_no_directory(driver: Driver) -> None:
    """An arm that is refused before it begins leaves neither its lock nor its log; what has run stays, and the corrected
    study goes on from it."""
    content = study(arms={"ppo": work("refused", init="stage:sft")})
    code, said = driver.run(content)
    assert code == 2 and "The stub is refused." in said
    home = driver.directory / "seed-0"
    assert [path.name for path in home.iterdir()] == ["stages"] and (home / "stages/sft/result.json").exists()
    content["arms"]["ppo"]["method"]["end"] = "well"
    assert driver.run(content)[0] == 0


# -- deaths -------------------------------------------------------------------------------------------------------------


def test_parent_killed_alone_and_started_again_at_once(driver: Driver) -> None:
    """Its arm dies with it, so that the second start's arm is the only writer, and the study ends as if nothing was."""
    content = study(arms={"ppo": work("waits", init="stage:sft")})
    first = driver.start(content)
    run = driver.directory / "seed-0/ppo"
    wait_for(lambda: "seed-0/ppo" in driver.began())
    orphan = driver.events("begin")[-1].pid
    first.kill()
    second = driver.start(content)
    first.wait()
    wait_for(lambda: driver.began().count("seed-0/ppo") == 2)
    assert not alive(orphan)
    assert driver.events("begin")[-1].pid != orphan
    (run / "go").touch()
    assert second.wait(timeout=30) == 0
    assert [event.what for event in driver.events() if event.run == "seed-0/ppo"] == ["begin", "begin", "end"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_study_lets_its_arms_keep_what_they_have(driver: Driver, signum: int, code: int) -> None:
    """The arms are asked to stop (they make a checkpoint) and waited for before the study itself ends."""
    content = study(arms={name: work("waits", init="stage:sft") for name in ("a", "b")})
    running = driver.start(content)
    wait_for(lambda: {"seed-0/a", "seed-0/b"} <= set(driver.began()) or len(os.sched_getaffinity(0)) < 2)
    running.send_signal(signum)
    assert running.wait(timeout=30) == code
    begun = {event.pid for event in driver.events("begin") if event.run in ("seed-0/a", "seed-0/b")}
    assert {event.pid for event in driver.events("stop")} == begun
    assert not any(alive(pid) for pid in begun)


def test_an_arm_whose_parent_is_already_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent may die before its child has asked to die with it; what no study launched lives on."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: killed.append((pid, signum)))
    process.die_with_parent()
    assert killed == []
    monkeypatch.setattr(process.ctypes, "CDLL", lambda *rest, **more: type("C", (), {"prctl": lambda *rest: 0}))
    monkeypatch.setenv(process.PARENT, str(os.getppid()))
    process.die_with_parent()
    assert killed == []
    assert process.PARENT not in os.environ  # not for this process's own children
    monkeypatch.setenv(process.PARENT, "999999999")
    process.die_with_parent()
    assert killed == [(os.getpid(), signal.SIGKILL)]


OPENED = """
import sys
from pathlib import Path

import torch
from preflab.study.load import load_study
from preflab.study.plan import planned_runs
from preflab.study.launchers.base import Order
from preflab.study.launchers.local import LocalLauncher, can_fork
from preflab.study.runner import charged_spec

assert can_fork(2)
torch.set_num_threads(2)
torch.nn.functional.logsigmoid(torch.ones(100_000)).sum()
assert not can_fork(2), "torch has opened no threads: the test protects nothing"
assert can_fork(1), "an arm with one thread would start in a fresh interpreter for nothing"
for threads in (1, 2):
    study = load_study("smoke").model_copy(update={"threads": threads})
    task = next(iter(planned_runs(study, Path(sys.argv[1]) / str(threads))))
    launcher = LocalLauncher(1.0)
    [job] = launcher.submit([Order(task, charged_spec(task))])
    while job.poll() is None:
        launcher.wait()
    assert job.poll() == 0, f"{threads} threads: {job.poll()}"
"""


def test_arms_start_where_torch_has_threads(tmp_path: Path) -> None:
    """A fork waits for ever for OpenMP's threads, which it does not inherit. From a process that has them (a notebook that
    computed something) an arm with one thread is forked, an arm with two starts in a fresh interpreter, and both train."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", OPENED, str(tmp_path)], env=environment, timeout=240, check=True)
