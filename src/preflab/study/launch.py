"""Starts each arm in a separate process, which is a fork of the study's process.

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
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from preflab.arm.planned import Planned
from preflab.arm.process import PARENT, run_arm
from preflab.train.files import refuse_special, write_json
from preflab.train.log import RUN_LOG

ArmProcess = Callable[[Path, Path], int]
"""A function that an arm's process runs. It takes the run file and the run's directory, and returns the exit code."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def launch(planned: Planned, spec: dict[str, Any], arm_process: ArmProcess | None = None) -> ForkProcess:
    """Writes `spec` to the run file of a planned run and starts the run's process. The output of the process is
    appended to `run.log` in the run's directory. `arm_process`: a function that the process calls instead of executing
    the arm."""
    arm_process = arm_process or (run_arm if can_fork(planned.spec.threads) else start_afresh)
    planned.directory.mkdir(parents=True, exist_ok=True)
    refuse_special(planned.directory / RUN_LOG)
    run_file = planned.directory / "run.json"
    write_json(run_file, spec)
    env = {PARENT: str(os.getpid()), **dict.fromkeys(THREAD_VARIABLES, str(planned.spec.threads))}
    fork = multiprocessing.get_context("fork")
    log = os.open(planned.directory / RUN_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    process = fork.Process(target=_become, args=(arm_process, run_file, planned.directory, env, log))
    process.start()
    os.close(log)
    return process


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


def last_log_lines(directory: Path, lines: int = 12) -> str:
    """Returns the last lines of a run's log, for an error message."""
    log = directory / RUN_LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-lines:])
