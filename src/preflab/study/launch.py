"""One arm, one process: forked from the study with everything imported, its threads pinned, its output in its run's log,
dying with its parent.

An arm is what `preflab train --run FILE` runs. A fork starts it without the seconds that importing torch takes, and its
memory begins as the study's own, shared until written. But OpenMP's threads do not come along, and a fork waits for them
for ever: so the study's own process has none, and where it has (a notebook that used torch), an arm starts afresh.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from preflab.study.spec import Task
from preflab.train.files import write_json

PARENT = "PREFLAB_PARENT"
Run = Callable[[Sequence[str]], None]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Process:
    """A forked child. `returncode` as `subprocess.Popen` has it: negative for a signal, None while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._take(os.WNOHANG)

    def wait(self) -> int | None:
        return self._take(0)

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _take(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def command(arguments: Sequence[str]) -> None:
    """What an arm runs: the command line itself, by its name, since it stands above this layer."""
    importlib.import_module("preflab.cli").main(arguments)


def afresh(arguments: Sequence[str]) -> None:
    """The same in an interpreter of its own."""
    os.execv(sys.executable, [sys.executable, "-m", "preflab", *arguments])


def forkable() -> bool:
    """Whether this process has no threads but Python's."""
    threads = Path("/proc/self/task")
    return threads.is_dir() and len(list(threads.iterdir())) <= threading.active_count()


def single_threaded() -> None:
    """Keeps OpenMP from starting threads here; to be called before torch is imported. Arms set their own number."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def preload() -> None:
    """Imports, once and before the first fork, what every arm needs."""
    for name in ("preflab.arm.execute", "transformers.models.llama.modeling_llama"):
        importlib.import_module(name)


def launch(task: Task, spec: dict[str, Any], run: Run | None = None) -> Process:
    """Starts `preflab train --run FILE` for a task; its output is appended to `run.log` in its directory. `run`: what is
    done instead."""
    run = run or (command if forkable() else afresh)
    task.directory.mkdir(parents=True, exist_ok=True)
    run_file = task.directory / "run.json"
    write_json(run_file, spec)
    arguments = ["train", "--run", str(run_file), "--output", str(task.directory)]
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        env = {PARENT: str(parent), **dict.fromkeys(THREADS, str(task.arm.threads))}
        _become(run, arguments, task.directory / "run.log", env)
    return Process(pid)


def _become(run: Run, arguments: Sequence[str], log: Path, env: dict[str, str]) -> NoReturn:
    """The child's life: the parent's signal handlers off, its own log on, the command, and no way back."""
    code = 1
    try:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        os.environ.update(env)
        for target, descriptor in ((os.devnull, 0), (log, 1), (log, 2)):
            flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT
            os.dup2(os.open(target, flags, 0o666), descriptor)
        run(arguments)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the study that launched it dies; nothing where none did."""
    parent = os.environ.pop(PARENT, None)  # what this process starts in turn is no arm of the study
    if parent is None or not sys.platform.startswith("linux"):
        return
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the request was made
        os.kill(os.getpid(), signal.SIGKILL)


def last_words(directory: Path, lines: int = 12) -> str:
    """The end of a run's log, for an error message."""
    log = directory / "run.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-lines:])
