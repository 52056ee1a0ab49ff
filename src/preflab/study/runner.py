"""Executes a study's planned runs. A launcher decides where they run and how many run at a time. A run starts only after
the runs whose output it uses have finished.

A run is done if it has a `result.json` that was made from the same spec. A run that is done does not run again. A study
can therefore be resumed after an interruption, and arms and seeds can be added. If an arm fails, the other runs
continue.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from pydantic import ValidationError

from preflab.arm.origin import code_of
from preflab.arm.planned import Planned
from preflab.arm.result import Counts, TrainedResult
from preflab.endings import Stopped
from preflab.errors import UserError
from preflab.study.cleanup import removing_refused
from preflab.study.launchers.base import LaunchedRun, Launcher, Order
from preflab.study.watch import Watch
from preflab.text import one_line
from preflab.train.directory import edited_files, read_manifest
from preflab.train.finished import AnyResult, has_product, read_result
from preflab.train.log import RUN_LOG

QUOTED_LINES = 12
"""How many lines of a run's log the message about a mistake of the user quotes."""
LONGEST_CAUSE = 300
"""The sentence about a failed run quotes at most this number of characters of the last line in the run's log."""
Failures = dict[Path, str]
"""Maps the directory of each failed run to a sentence about its failure."""


def run_all(planned: Sequence[Planned], *, launcher: Launcher, watch: Watch) -> Failures:
    """Executes all planned runs that are not done. Returns the failures. Raises `UserError` if a run ends with a
    mistake of the user, and `Stopped` after SIGTERM or Ctrl-C."""
    failures: Failures = {}
    waiting = runs_to_do(planned)
    places = {run.directory for run in waiting}
    for run in planned:
        if run.directory not in places:
            watch.done(run, before=True)
    jobs: list[LaunchedRun] = []
    made: list[Path] = []
    with removing_refused(made), interruptible(jobs, launcher) as stop_signals:
        while waiting or jobs:
            for job in list(jobs):
                code = job.poll()
                if code is not None:
                    jobs.remove(job)
                    finish(job, code, failures, watch)
            waiting = drop_orphans(waiting, failures)
            starting = launcher.admit(ready_runs(waiting, jobs), jobs)
            places = {run.directory for run in starting}
            waiting = [run for run in waiting if run.directory not in places]
            made += [run.directory for run in starting if not run.directory.exists()]
            jobs += launcher.submit([Order(run, charged_spec(run)) for run in starting])
            watch.started(starting)
            watch.refresh(jobs, len(waiting))
            if stop_signals:
                raise Stopped(stop_signals[0], f"with {watch.finished} of {watch.total} runs done")
            launcher.wait()
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


def ready_runs(waiting: Sequence[Planned], jobs: Sequence[LaunchedRun]) -> list[Planned]:
    """Returns the waiting runs for which all runs that they need have finished."""
    pending = {run.directory for run in (*waiting, *(job.run for job in jobs))}
    return [run for run in waiting if pending.isdisjoint((*run.needs, *run.waits))]


def finish(job: LaunchedRun, code: int, failures: Failures, watch: Watch) -> None:
    """Records whether a job succeeded or failed. Raises `UserError` if it ended with a mistake of the user."""
    run = job.run
    if code == 0 and not (run.is_stage and read_result(run.directory, AnyResult).diverged):
        watch.done(run)
        return
    if code == 2:
        raise UserError(f"{run.label} cannot run:\n{job.last_lines(QUOTED_LINES)}")
    reasons = {0: "diverged", -signal.SIGKILL: "was killed, most likely for memory"}
    cause = one_line(job.last_lines(1)) if code > 0 else ""
    reason = reasons.get(code, f"ended with code {code}{f' ({shorten(cause, LONGEST_CAUSE)})' if cause else ''}")
    failures[run.directory] = f"{run.label} {reason}; see {job.directory / RUN_LOG}"
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
def interruptible(jobs: Sequence[LaunchedRun], launcher: Launcher) -> Generator[list[int]]:
    """Returns a context whose value is a list. If this process receives the signal SIGTERM or SIGINT (Ctrl-C) inside
    the context, the signal is appended to the list. When the context ends, it asks all jobs to stop, so that each of
    them writes a checkpoint, and waits until all jobs have ended."""
    stop_signals: list[int] = []

    def note(signum: int, frame: object) -> None:
        stop_signals.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop_signals
    finally:
        for job in jobs:
            job.cancel()
        while any(job.is_running() for job in jobs):
            launcher.wait()
        for signum, handler in before.items():
            signal.signal(signum, handler)
