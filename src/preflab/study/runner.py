"""Executes a study's planned runs, each in a separate process. The free cores and the free memory limit the number of
runs at a time. A run starts only after the runs whose output it uses have finished.

A run is done if it has a `result.json` that was made from the same spec. A run that is done does not run again. A study
can therefore be resumed after an interruption, and arms and seeds can be added. If an arm fails, the other runs
continue.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from textwrap import shorten
from typing import Any

import psutil
from pydantic import ValidationError

from preflab.arm.origin import code_of
from preflab.arm.planned import Planned
from preflab.arm.result import Counts, TrainedResult
from preflab.endings import Stopped
from preflab.errors import UserError
from preflab.study.cleanup import removing_refused
from preflab.study.launch import ArmProcess, last_log_lines, launch
from preflab.study.watch import Watch
from preflab.text import one_line
from preflab.train.directory import edited_files, read_manifest
from preflab.train.finished import AnyResult, has_product, read_result

POLL_SECONDS = 0.1
LONGEST_CAUSE = 300
"""The sentence about a failed run quotes at most this number of characters of the last line in the run's log."""
Failures = dict[Path, str]
"""Maps the directory of each failed run to a sentence about its failure."""


def run_all(
    planned: Sequence[Planned], *, memory_gb: float, watch: Watch, arm_process: ArmProcess | None = None
) -> Failures:
    """Executes all planned runs that are not done. Returns the failures. Raises `UserError` if a run ends with a
    mistake of the user, and `Stopped` after SIGTERM or Ctrl-C. `arm_process`: a function that each process calls
    instead of executing the run."""
    failures: Failures = {}
    waiting = runs_to_do(planned)
    for run in planned:
        if run not in waiting:
            watch.done(run, before=True)
    running: dict[ForkProcess, Planned] = {}
    made: list[Path] = []
    with removing_refused(made), interruptible(running) as stop_signals:
        while waiting or running:
            for process in [process for process in running if process.exitcode is not None]:
                finish(process, running.pop(process), failures, watch)
            waiting = drop_orphans(waiting, failures)
            for run in runs_to_start(waiting, running, memory_gb):
                waiting.remove(run)
                made += [] if run.directory.exists() else [run.directory]
                running[launch(run, charged_spec(run), arm_process)] = run
                watch.started(run)
            watch.refresh(list(running.values()), len(waiting))
            if stop_signals:
                raise Stopped(stop_signals[0], f"with {watch.finished} of {watch.total} runs done")
            time.sleep(POLL_SECONDS)
    return failures


def runs_to_do(planned: Sequence[Planned]) -> list[Planned]:
    """Returns the planned runs that must be executed, in order. These are the runs that are not done. A finished stage
    is also executed again if two conditions hold. First, its output is missing or has changed. Second, a run that must
    be executed needs this output. Any other finished run counts as done even without its weights, because users can
    delete the weights and keep the results."""
    to_do: list[Planned] = []
    products_needed: set[Path] = set()
    for run in reversed(planned):  # backwards, because the runs that need a stage come after it
        if not is_done(run) or (run.directory in products_needed and not has_product(run.directory)):
            to_do.append(run)
            products_needed |= run.products
    return to_do[::-1]


def is_done(run: Planned) -> bool:
    """Returns True if the run's result exists, if it was made from this spec, and if the user's own code that the spec
    names has not changed since then.

    The field `charged` of the budget is not compared, because its value follows from the stages. If an older version of
    preflab wrote the spec, the spec is parsed with the defaults of this version. Raises `UserError` if the manifest or
    the result is damaged.
    """
    manifest = read_manifest(run.directory)
    if not run.result_file.exists() or manifest is None:
        return False
    read_result(run.directory, AnyResult)
    try:
        old = type(run.spec).model_validate(manifest["spec"]).model_dump(mode="json")
    except (ValidationError, UserError):
        return False
    new = run.spec.model_dump(mode="json")
    for spec in (old, new):
        if spec.get("budget") is not None:
            spec["budget"]["charged"] = None
    return old == new and not edited_files(manifest, {"code": code_of(new)})


def charged_spec(run: Planned) -> dict[str, Any]:
    """Returns the content of a run's run file. If the run has a budget, sets the field `charged` of the budget to the
    cost of the stages that the run needs."""
    spec = run.spec.model_dump(mode="json")
    if spec.get("budget") is not None:
        used = Counts.total(read_result(need, TrainedResult).counts for need in run.needs)
        spec["budget"]["charged"] = used.flops if spec["budget"]["unit"] == "compute" else used.labels
    return spec


def runs_to_start(
    waiting: Sequence[Planned], running: dict[ForkProcess, Planned], memory_gb: float
) -> Iterator[Planned]:
    """Yields the runs to start now. A run starts when all runs that it needs have finished, and enough cores and memory
    are free. If no run is in progress, one run starts even without enough free cores and memory."""
    pending = {run.directory for run in (*waiting, *running.values())}
    free_cores = usable_cores() - sum(run.spec.threads for run in running.values())
    free_memory = psutil.virtual_memory().available / 2**30
    is_idle = not running
    for run in list(waiting):
        fits = run.spec.threads <= free_cores and memory_gb <= free_memory
        if (fits or is_idle) and pending.isdisjoint((*run.needs, *run.waits)):
            yield run
            free_cores -= run.spec.threads
            free_memory -= memory_gb
            is_idle = False


def usable_cores() -> int:
    """Returns the number of cores that this process is allowed to use."""
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # this system has no CPU affinities


def finish(process: ForkProcess, run: Planned, failures: Failures, watch: Watch) -> None:
    """Records whether a process succeeded or failed. Raises `UserError` if the process ended with a mistake of the
    user."""
    code = process.exitcode or 0  # never None: the process has ended
    if code == 0 and not (run.is_stage and read_result(run.directory, AnyResult).diverged):
        watch.done(run)
        return
    if code == 2:
        raise UserError(f"{run.label} cannot run:\n{last_log_lines(run.directory)}")
    reasons = {0: "diverged", -signal.SIGKILL: "was killed, most likely for memory"}
    cause = one_line(last_log_lines(run.directory, 1)) if code > 0 else ""
    reason = reasons.get(code, f"ended with code {code}{f' ({shorten(cause, LONGEST_CAUSE)})' if cause else ''}")
    failures[run.directory] = f"{run.label} {reason}; see {run.directory / 'run.log'}"
    watch.failed(run, reason)


def drop_orphans(waiting: Sequence[Planned], failures: Failures) -> list[Planned]:
    """Returns the waiting runs that do not need a failed run. Records every other waiting run as failed too."""
    kept: list[Planned] = []
    for run in waiting:
        broken = next((need for need in (*run.needs, *run.waits) if need in failures), None)
        if broken is None:
            kept.append(run)
        else:
            failures[run.directory] = f"{run.label} needs {broken.name}, which failed"
    return kept


@contextmanager
def interruptible(running: dict[ForkProcess, Planned]) -> Generator[list[int]]:
    """Returns a context whose value is a list. If this process receives the signal SIGTERM or SIGINT (Ctrl-C) inside
    the context, the signal is appended to the list. When the context ends, it sends SIGTERM to the running processes,
    so that each of them writes a checkpoint, and waits until all processes have ended."""
    stop_signals: list[int] = []

    def note(signum: int, frame: object) -> None:
        stop_signals.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop_signals
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)
