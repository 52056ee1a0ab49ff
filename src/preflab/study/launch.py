"""Starts an arm in a process of its own: a fork of the study's process, in which the modules that arms need are imported
already. The arm's number of threads is set, and its output goes to its run's log.

A fork saves the seconds that importing torch takes, and it shares the study's memory until one of the two writes to it.
But a fork does not copy OpenMP's threads: an arm that computes with several threads would wait for them for ever. An arm
with one thread never waits for them. Nor can a fork use CUDA if the study's process used it (in a notebook). Such arms
start in a fresh interpreter.
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
from preflab.train.files import write_json

ArmProcess = Callable[[Path, Path], int]
"""What an arm's process runs: a function that takes the run file and the directory, and returns the exit code."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def launch(planned: Planned, spec: dict[str, Any], arm_process: ArmProcess | None = None) -> ForkProcess:
    """Starts the process of a planned run and writes `spec` to its run file. The output of the process is appended to
    `run.log` in the run's directory. `arm_process`: what the process does instead of executing the arm."""
    arm_process = arm_process or (run_arm if can_fork(planned.spec.threads) else start_afresh)
    planned.directory.mkdir(parents=True, exist_ok=True)
    run_file = planned.directory / "run.json"
    write_json(run_file, spec)
    env = {PARENT: str(os.getpid()), **dict.fromkeys(THREAD_VARIABLES, str(planned.spec.threads))}
    fork = multiprocessing.get_context("fork")
    log = os.open(planned.directory / "run.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    process = fork.Process(target=_become, args=(arm_process, run_file, planned.directory, env, log))
    process.start()
    os.close(log)
    return process


def start_afresh(run_file: Path, directory: Path) -> int:
    """Replaces this process by a new interpreter, which executes the arm."""
    os.execv(sys.executable, [sys.executable, "-m", "preflab.arm.process", str(run_file), str(directory)])


def can_fork(threads: int) -> bool:
    """Returns True if a fork of this process can compute with so many threads: with one thread always, with several if
    Python started all threads of this process. After CUDA was used, no fork can use it again."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return False
    tasks = Path("/proc/self/task")
    return threads == 1 or (tasks.is_dir() and len(list(tasks.iterdir())) <= threading.active_count())


def keep_single_threaded() -> None:
    """Keeps OpenMP from starting threads in this process. Must be called before torch is imported. Each arm sets its own
    number of threads."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def import_shared_modules() -> None:
    """Imports the modules that every arm needs, once, before the first fork."""
    for name in ("preflab.arm.execute", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)


def _become(arm_process: ArmProcess, run_file: Path, directory: Path, env: dict[str, str], log: int) -> None:
    """Runs in the child process: drops the parent's signal handlers, sends the output to the run's own log, runs the arm,
    and exits."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    os.environ.update(env)
    for source, descriptor in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(source, descriptor)
    sys.exit(arm_process(run_file, directory))


def last_log_lines(directory: Path, lines: int = 12) -> str:
    """The last lines of a run's log, for an error message."""
    log = directory / "run.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-lines:])
