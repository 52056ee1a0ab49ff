"""A simulated cluster: does the study keep it busy?

The runner, the plan and the admission are the real ones. Only time is simulated: a job lasts for a drawn number of
seconds, and `wait` moves the clock to the next end of a job.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # specs name the classes of the stubs
import stub

from preflab.arm.planned import Planned
from preflab.spec import parse_spec
from preflab.study.launchers.base import LaunchedRun, Launcher, Order
from preflab.study.plan import planned_runs
from preflab.study.runner import run_all
from preflab.study.spec import Study
from preflab.study.watch import Watch
from preflab.train.files import write_json

WORKERS = 8


class SimulatedRun(LaunchedRun):
    """A job that waits in the cluster's queue, runs, and ends. `end`: when it ends; None while it waits."""

    def __init__(self, run: Planned, cluster: SimulatedCluster) -> None:
        super().__init__(run)
        self.cluster = cluster
        self.end: float | None = None

    @property
    def directory(self) -> Path:
        return self.run.directory

    def poll(self) -> int | None:
        return 0 if self.end is not None and self.end <= self.cluster.clock else None

    def is_running(self) -> bool:
        return self.poll() is None

    def cancel(self) -> None:
        raise NotImplementedError


class SimulatedCluster(Launcher):
    """A cluster of `WORKERS` machines with a queue: the job that was submitted first starts first. A stage lasts 600 to
    1,800 simulated seconds, an arm 1,800 to 7,200."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.busy = 0.0
        self.free_at = [0.0] * WORKERS
        self.random = random.Random(0)
        self.ends: list[float] = []

    def admit(self, ready: Sequence[Planned], running: Sequence[LaunchedRun]) -> Sequence[Planned]:
        return ready

    def submit(self, orders: Sequence[Order]) -> list[LaunchedRun]:
        return [self._submit(order.run) for order in orders]

    def _submit(self, run: Planned) -> SimulatedRun:
        job = SimulatedRun(run, self)
        seconds = self.random.uniform(600, 1800) if run.is_stage else self.random.uniform(1800, 7200)
        start = max(self.clock, heapq.heappop(self.free_at))
        job.end = start + seconds
        self.busy += seconds
        heapq.heappush(self.free_at, job.end)
        heapq.heappush(self.ends, job.end)
        if run.is_stage:  # the runner reads whether it diverged
            run.directory.mkdir(parents=True)
            write_json(run.directory / "result.json", stub.RESULT | {"diverged": None})
        return job

    def wait(self) -> None:
        if self.ends:
            self.clock = heapq.heappop(self.ends)


def study_of(*, arms: int, seeds: int) -> Study:
    """A study with two stages, one after the other: half of the arms need the first one, half need both."""
    work: dict[str, Any] = {"method": {"kind": "stub:Work"}}
    plain = {
        "name": "trace",
        "testbed": {"kind": "minicode", "train": 4, "validation": 2, "test": 2},
        "sampler": {"kind": "stub:Idle"},
        "evaluator": {"kind": "stub:Blind"},
        "seeds": seeds,
        "stages": {"sft": work, "reward": work | {"init": "stage:sft"}},
        "arms": {f"arm{i}": work | {"init": f"stage:{('sft', 'reward')[i % 2]}"} for i in range(arms)},
    }
    return parse_spec(Study, plain, where="test")


def test_a_study_keeps_a_cluster_busy(tmp_path: Path) -> None:
    """200 arms (10 arms, 20 seeds) and 40 stages on 8 machines: at least nine tenths of the machines' time is work. The
    stages of all seeds start at once, and an arm starts when its own seed's stages have ended, not when all have."""
    runs = list(planned_runs(study_of(arms=10, seeds=20), tmp_path))
    assert len(runs) == 240
    cluster = SimulatedCluster()
    assert run_all(runs, launcher=cluster, watch=Watch(len(runs), quiet=True)) == {}
    assert cluster.busy / (WORKERS * max(cluster.free_at)) >= 0.9
