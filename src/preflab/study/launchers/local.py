"""Starts each run on this machine, in a process that is a fork of the study's process. The free cores and the free memory
limit the number of runs at a time.

The study's process has already imported the modules that arms need. A fork therefore saves the seconds of importing
torch, and shares the memory of these modules. The process of an arm sets its number of threads and writes to its own
log.

A fork does not copy OpenMP's threads. An arm with several threads would wait for these threads for ever, but an arm
with one thread does not use them. A fork cannot use CUDA if the study's process has used CUDA, for example in a
notebook. If a fork cannot compute, the arm starts in a new interpreter instead.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Literal

import psutil

from preflab.arm.planned import Planned
from preflab.arm.process import PARENT, THREAD_VARIABLES, run_arm
from preflab.study.directory import RUN_FILE
from preflab.study.launchers.attempts import continue_latest
from preflab.study.launchers.base import LaunchedRun, Launcher, LauncherSpec, Order, StudyPlace
from preflab.train.files import refuse_special, write_json
from preflab.train.log import RUN_LOG

ArmProcess = Callable[[Path, Path], int]
"""A function that an arm's process runs. It takes the run file and the run's directory, and returns the exit code."""


class ForkedRun(LaunchedRun):
    """A run in a forked process."""

    def __init__(self, run: Planned, process: ForkProcess) -> None:
        super().__init__(run)
        self._process = process

    @property
    def directory(self) -> Path:
        return self.run.directory

    def poll(self) -> int | None:
        return self._process.exitcode

    def is_running(self) -> bool:
        return self._process.exitcode is None

    def cancel(self) -> None:
        self._process.terminate()


class LocalLauncher(Launcher):
    """Starts runs on this machine. `memory_gb`: the memory of one run in GiB. `arm_process`: a function that each
    process calls instead of executing the run."""

    def __init__(self, memory_gb: float, arm_process: ArmProcess | None = None) -> None:
        self._memory_gb = memory_gb
        self._arm_process = arm_process

    def admit(self, ready: Sequence[Planned], running: Sequence[LaunchedRun]) -> Sequence[Planned]:
        """Returns the runs for which enough cores and memory are free. If no run is in progress, one run starts even
        without enough free cores and memory."""
        free_cores = usable_cores() - sum(job.run.spec.threads for job in running)
        free_memory = psutil.virtual_memory().available / 2**30
        admitted: list[Planned] = []
        for run in ready:
            fits = run.spec.threads <= free_cores and self._memory_gb <= free_memory
            if fits or not (running or admitted):
                admitted.append(run)
                free_cores -= run.spec.threads
                free_memory -= self._memory_gb
        return admitted

    def submit(self, orders: Sequence[Order]) -> list[LaunchedRun]:
        return [self._fork(order) for order in orders]

    def _fork(self, order: Order) -> ForkedRun:
        """Writes the run file and starts the run's process, whose output is appended to the run's `run.log`."""
        directory, threads = order.run.directory, order.run.spec.threads
        arm_process = self._arm_process or (run_arm if can_fork(threads) else start_afresh)
        continue_latest(directory)
        directory.mkdir(parents=True, exist_ok=True)
        refuse_special(directory / RUN_LOG)
        run_file = directory / RUN_FILE
        write_json(run_file, order.content)
        env = {PARENT: str(os.getpid()), **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        log = os.open(directory / RUN_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_become, args=(arm_process, run_file, directory, env, log))
        process.start()
        os.close(log)
        return ForkedRun(order.run, process)


class Local(LauncherSpec):
    """Starts the runs of a study on this machine."""

    kind: Literal["local"] = "local"

    @contextmanager
    def open(self, place: StudyPlace) -> Generator[Launcher]:
        import_shared_modules()
        yield LocalLauncher(place.memory_gb)


def usable_cores() -> int:
    """Returns the number of cores that this process is allowed to use."""
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # this system has no CPU affinities


def start_afresh(run_file: Path, directory: Path) -> int:
    """Replaces this process by a new Python interpreter, which executes the arm."""
    os.execv(sys.executable, [sys.executable, "-m", "preflab.arm.process", str(run_file), str(directory)])


def can_fork(threads: int) -> bool:
    """Returns True if a fork of this process can compute with this number of threads. After this process has used CUDA,
    no fork can compute. If this process has not used CUDA, a fork with one thread can compute. A fork with several
    threads can compute only if OpenMP has not started threads in this process. The function therefore checks that
    Python started all threads of this process. If the system does not list the threads, the result for several threads
    is False."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return False
    tasks = Path("/proc/self/task")
    return threads == 1 or (tasks.is_dir() and len(list(tasks.iterdir())) <= threading.active_count())


def keep_single_threaded() -> None:
    """Prevents OpenMP from starting threads in this process. Must be called before torch is imported. Each arm's
    process sets its own number of threads."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def import_shared_modules() -> None:
    """Imports the modules that every arm needs, so that the processes forked later do not have to import them."""
    for name in ("preflab.arm.execute", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)


def _become(arm_process: ArmProcess, run_file: Path, directory: Path, env: dict[str, str], log: int) -> None:
    """Runs in the child process after the fork. Removes the parent's signal handlers, redirects the output to the run's
    log, runs the arm, and exits."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    os.environ.update(env)
    for source, descriptor in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(source, descriptor)
    sys.exit(arm_process(run_file, directory))
