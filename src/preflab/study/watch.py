"""Shows the progress of a study. A terminal shows a live table. Any other output gets one line for each event."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from preflab.arm.planned import Planned
from preflab.arm.result import MeasuredResult
from preflab.errors import UserError
from preflab.study.launchers.base import LaunchedRun
from preflab.terminal import Terminal
from preflab.train.finished import read_result
from preflab.train.log import logger
from preflab.train.ownership import METRICS
from preflab.train.progress import format_metrics

_REFRESH_SECONDS = 1.0


class Watch:
    """Shows the progress of a study: the number of finished runs, and the runs in progress. `quiet`: whether only
    failures are shown."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self.total = total
        self.finished = 0
        self.quiet = quiet
        self.console = Terminal(stderr=True)
        self.started_at = self.refreshed = time.monotonic()
        self.live: Live | None = None
        self.steps: dict[Path, int] = {}  # the last printed step, by the directory of the run

    def started(self, tasks: Sequence[Planned]) -> None:
        if not self.console.is_terminal:
            for task in tasks:
                self._line(f"start   {task.label}")

    def done(self, task: Planned, *, before: bool = False) -> None:
        self.finished += 1
        self._line(f"{'had' if before else 'done'}    {task.label}{last_score(task.directory)}")

    def failed(self, task: Planned, reason: str) -> None:
        self.console.print(f"FAILED  {task.label}: {reason}", markup=False, highlight=False)

    def refresh(self, running: Sequence[LaunchedRun], waiting: int) -> None:
        """Redraws the table, at most once a second. If the log level is DEBUG, also prints the newest step of each
        running job."""
        if self.quiet or time.monotonic() - self.refreshed < _REFRESH_SECONDS:
            return
        self.refreshed = time.monotonic()
        if logger.isEnabledFor(logging.DEBUG):
            for job in running:
                self._step(job)
        if self.console.is_terminal:
            self._draw(running, waiting)

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _step(self, job: LaunchedRun) -> None:
        record = newest(job.directory)
        step = record.get("step")
        if step is not None and self.steps.get(job.run.directory) != step:
            self.steps[job.run.directory] = step
            facts = format_metrics(record)
            self._line(f"step {step}  {job.run.label} {min(record['progress'], 1.0):4.0%}  {facts}")

    def _draw(self, running: Sequence[LaunchedRun], waiting: int) -> None:
        if self.live is None:
            # A refresh thread would be unsafe, because this process forks for each arm.
            self.live = Live(console=self.console, transient=True, auto_refresh=False)
            self.live.start()
        table = Table.grid(padding=(0, 2))
        for job in running:
            share = progress(job.directory)
            table.add_row(Text(job.run.label), ProgressBar(total=1.0, completed=share, width=30))
        table.add_row(Text(f"{self.finished} of {self.total} runs done, {waiting} waiting, {self._elapsed()}"))
        self.live.update(table, refresh=True)

    def _line(self, text: str) -> None:
        if not self.quiet:
            head = f"[{self.finished}/{self.total} {self._elapsed()}] "
            self.console.print(head + text, markup=False, highlight=False)

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.started_at), 60)
        return f"{minutes}:{seconds:02d}"


def progress(directory: Path) -> float:
    """Returns the fraction of a run that is done, from 0 to 1."""
    return min(float(newest(directory).get("progress", 0.0)), 1.0)


def newest(directory: Path) -> dict[str, Any]:
    """Returns the last record of a run's metrics; {} if there is no record yet, or if the last record is
    half-written."""
    path = directory / METRICS
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().splitlines()
    try:
        record = json.loads(lines[-1])
    except (IndexError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def last_score(directory: Path) -> str:
    """Returns a run's score at its chosen temperature, as text for the end of a line; '' if the run was not
    measured."""
    try:
        evaluation = read_result(directory, MeasuredResult).evaluation
    except UserError:  # a match and a stage have no score; if the file is damaged, a later step says so
        return ""
    return "" if evaluation is None else f": {evaluation.chosen.score:.3f}"
