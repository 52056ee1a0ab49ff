"""Slurm: what is submitted, when a job counts as over, and what happens before the time limit.

Slurm itself is replaced by commands on the PATH that write down how they were called. The last two tests are slow: they
run a study through submitit on this machine, and through a real Slurm if there is one.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit
import yaml

from preflab.errors import UserError
from preflab.study.launchers.base import Order, StudyPlace
from preflab.study.launchers.slurm import Queue, Slurm, SlurmTask
from preflab.study.load import load_study
from preflab.study.plan import planned_runs
from preflab.study.runner import charged_spec


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that stand in for Slurm's: `sbatch` gives the jobs the numbers 71, 72, …"""
    folder = tmp_path / "bin"
    folder.mkdir()
    number = f"n=$(cat {folder}/number 2>/dev/null || echo 70); n=$((n + 1)); echo $n > {folder}/number"
    scripts = {
        "sbatch": f'{number}; cat "$1" > {folder}/job-$n.sh; echo Submitted batch job $n',
        "squeue": f"echo $@ > {folder}/squeue-called; cat {folder}/queue",
        "scancel": f"echo $@ >> {folder}/cancelled",
        "srun": "exit 1",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def orders(directory: Path, count: int, **changes: int) -> list[Order]:
    """Orders for the first runs of the study `smoke`."""
    runs = list(planned_runs(load_study("smoke").model_copy(update=changes), directory))[:count]
    return [Order(run, charged_spec(run)) for run in runs]


def flags(script: Path) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_runs_that_are_ready_together_are_one_array(commands: Path, tmp_path: Path) -> None:
    """Two runs with one thread are one array with two tasks, a run with two threads is a job of its own. The settings of
    the site file are the options of `sbatch`."""
    spec = Slurm(partition="a100", minutes=240, gpus=1, setup=("module load cuda",), jobs=50, parameters={"nice": 10})
    wide = orders(tmp_path / "wide", 1, threads=2)
    with spec.open(StudyPlace(tmp_path, 1.0)) as launcher:
        jobs = launcher.submit([*orders(tmp_path, 1), *wide, *orders(tmp_path, 2)[1:]])
    assert [job._handle.job_id for job in jobs] == ["71_0", "72", "71_1"]
    array = flags(commands / "job-71.sh")
    expected = {
        "array": "0-1%2",
        "cpus-per-task": "1",
        "gpus-per-node": "1",
        "partition": "a100",
        "time": "240",
        "signal": "USR2@90",
        "requeue": "",
        "nice": "10",
    }
    assert {name: array[name] for name in expected} == expected
    assert "module load cuda" in (commands / "job-71.sh").read_text()
    assert flags(commands / "job-72.sh")["cpus-per-task"] == "2"


def test_a_job_is_over_when_squeue_does_not_list_it(commands: Path) -> None:
    """`sacct` needs a database that many clusters lack. A Slurm that does not answer says nothing about a job."""
    (commands / "queue").write_text("71_0\n72\n")
    queue = Queue()
    assert [queue.contains(name) for name in ("71_0", "72", "71_1")] == [True, True, False]
    assert (commands / "squeue-called").read_text().split() == [
        "--array",
        "--noheader",
        "--format=%i",
        f"--user={getpass.getuser()}",
    ]
    (commands / "squeue").write_text("#!/bin/sh\nexit 1\n")
    assert Queue().contains("71_1")


def test_a_job_is_cancelled(commands: Path, tmp_path: Path) -> None:
    with Slurm().open(StudyPlace(tmp_path, 1.0)) as launcher:
        [job] = launcher.submit(orders(tmp_path, 1))
        job.cancel()
    assert (commands / "cancelled").read_text().split() == ["71"]


def test_before_the_limit_the_run_stops_and_the_job_is_submitted_anew(tmp_path: Path) -> None:
    """submitit calls `checkpoint`, and executes what it returns when Slurm starts the job again: the same order."""
    stopped: list[bool] = []
    task = SlurmTask(tmp_path / "order.json", "token")
    task._run = SimpleNamespace(stop=lambda: stopped.append(True))
    again = task.checkpoint()
    assert stopped == [True]
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert vars(again.function) == {"_order_file": tmp_path / "order.json", "_token": "token", "_run": None}


def test_no_slurm_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Slurm().open(StudyPlace(tmp_path, 1.0)) as launcher, pytest.raises(UserError, match="Slurm does not take"):
        launcher.submit(orders(tmp_path, 1))


def run_study(output: Path, *words: str, site: Path) -> dict[str, object]:
    environment = {**os.environ, "PREFLAB_SITE": str(site)}
    command = [sys.executable, "-m", "preflab", "study", "smoke", "--output", str(output), "-q", *words]
    subprocess.run(command, env=environment, check=True, timeout=1200)
    return json.loads((output / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "slurm"])
def test_a_study_has_the_same_results(
    tmp_path: Path, cluster: str, script: Callable[[str], object], require: Callable[[str, bool, str], None]
) -> None:
    """The study `smoke` through submitit gives the numbers of a local study. On a real Slurm, the time limit of a minute
    puts jobs into the queue again."""
    here = cluster == "local" or shutil.which("sbatch") is not None
    require("slurm", here, "needs a Slurm that takes jobs (sbatch)")
    site = tmp_path / "site.yaml"
    settings = {"kind": "slurm", "cluster": cluster, "minutes": 10 if cluster == "local" else 1, "jobs": 2}
    site.write_text(yaml.safe_dump({"launchers": {"cluster": settings}}))
    local = run_study(tmp_path / "local", "--on", "local", site=site)
    other = run_study(tmp_path / "other", "--on", "cluster", site=site)
    differences, _ = script("compare_results").compare(local, other)
    assert differences == []
