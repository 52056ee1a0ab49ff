"""Runs a study's tasks as processes: as many at a time as cores and memory admit, each after what it stands on.

What is done (a `result.json` under the same spec) is not run again, so that a study goes on after any interruption and
grows over several sittings. An arm that fails leaves the others running.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from preflab.errors import UserError
from preflab.study.launch import Process, Run, last_words, launch
from preflab.study.spec import Task, needs
from preflab.study.watch import Watch
from preflab.train.directory import MANIFEST, is_manifest
from preflab.train.files import read_json

PAUSE = 0.1


@dataclass
class Outcome:
    """What became of the tasks: failures by task directory, in words."""

    failures: dict[Path, str] = field(default_factory=dict[Path, str])

    @property
    def complete(self) -> bool:
        return not self.failures


def run_tasks(tasks: Sequence[Task], *, memory_gb: float, watch: Watch, run: Run | None = None) -> Outcome:
    """Runs all tasks; raises `UserError` when one ends with the user's mistake, `SystemExit` on SIGTERM or Ctrl-C.

    `run`: what an arm's process does instead of training.
    """
    outcome = Outcome()
    waiting = unfinished(tasks)
    for task in tasks:
        if task not in waiting:
            watch.done(task, before=True)
    running: dict[Process, Task] = {}
    with interruptible(running) as stopped:
        while waiting or running:
            for process in [process for process in running if process.poll() is not None]:
                finish(process, running.pop(process), outcome, watch)
            waiting = drop_orphans(waiting, outcome)
            for task in ready(waiting, running, memory_gb):
                waiting.remove(task)
                running[launch(task, charged(task), run)] = task
                watch.started(task)
            watch.refresh(list(running.values()), len(waiting))
            if stopped:
                raise SystemExit(128 + stopped[0])
            time.sleep(PAUSE)
    return outcome


def unfinished(tasks: Sequence[Task]) -> list[Task]:
    """What has to run, in order: what is not done, and the stages whose product is gone while something that has to run
    stands on it. (Results may be kept without weights: they count as done.)"""
    found: list[Task] = []
    wanted: set[Path] = set()
    for task in reversed(tasks):  # what stands on a stage comes after it
        gone = task.directory in wanted and not (task.directory / "final").exists()
        if gone or not is_done(task):
            found.append(task)
            direct = needs(task.arm)
            wanted |= {need for need in task.needs if need.name in direct} | set(task.waits)
    return found[::-1]


def is_done(task: Task) -> bool:
    """Its result is there, made from this very spec: all of it but what its stages had used, which follows from it."""
    path = task.directory / MANIFEST
    manifest: Any = read_json(path) if path.exists() else None
    if not (task.directory / "result.json").exists() or not is_manifest(manifest):
        return False
    found, wanted = manifest["spec"], task.arm.model_dump(mode="json")
    for spec in (found, wanted):
        if spec.get("budget") is not None:
            spec["budget"]["charged"] = None
    return found == wanted


def charged(task: Task) -> dict[str, Any]:
    """The run file's content: the arm, with what the stages that it stands on used charged to its budget."""
    data = task.arm.model_dump(mode="json")
    if data["budget"] is not None:
        count = "flops" if data["budget"]["unit"] == "compute" else "labels"
        data["budget"]["charged"] = sum(read_json(need / "result.json")["counts"][count] for need in task.needs)
    return data


def ready(waiting: Sequence[Task], running: dict[Any, Task], memory_gb: float) -> Iterator[Task]:
    """The tasks to start now: what they stand on neither waits nor runs, and there are cores and memory for them."""
    pending = {task.directory for task in (*waiting, *running.values())}
    free = cores_here() - sum(task.arm.threads for task in running.values())
    memory = psutil.virtual_memory().available / 2**30
    idle = not running
    for task in list(waiting):
        fits = task.arm.threads <= free and memory_gb <= memory
        if (fits or idle) and pending.isdisjoint((*task.needs, *task.waits)):
            yield task
            free -= task.arm.threads
            memory -= memory_gb
            idle = False


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def finish(process: Process, task: Task, outcome: Outcome, watch: Watch) -> None:
    """Takes note of how a process ended."""
    code = process.returncode or 0  # it has ended
    if code == 0 and not (task.arm.measure == "none" and read_json(task.directory / "result.json")["diverged"]):
        watch.done(task)
        return
    if code == 2:
        raise UserError(f"{task.name} (seed {task.seed}) cannot run:\n{last_words(task.directory)}")
    reasons = {0: "diverged", -signal.SIGKILL: "was killed, most likely for memory"}
    reason = reasons.get(code, f"ended with code {code}")
    outcome.failures[task.directory] = f"{task.name} (seed {task.seed}) {reason}; see {task.directory / 'run.log'}"
    watch.failed(task, reason)


def drop_orphans(waiting: Sequence[Task], outcome: Outcome) -> list[Task]:
    """The tasks that can still run; those that stand on a failure fail with it."""
    kept: list[Task] = []
    for task in waiting:
        broken = next((need for need in (*task.needs, *task.waits) if need in outcome.failures), None)
        if broken is None:
            kept.append(task)
        else:
            outcome.failures[task.directory] = f"{task.name} (seed {task.seed}) stands on {broken.name}, which failed"
    return kept


@contextmanager
def interruptible(running: dict[Process, Task]) -> Generator[list[int]]:
    """SIGTERM and Ctrl-C are noted in the list that is given; on the way out every process is asked to end, with its
    checkpoint made, and waited for."""
    stopped: list[int] = []

    def note(signum: int, frame: object) -> None:
        stopped.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        for signum, handler in before.items():
            signal.signal(signum, handler)
