"""One arm, one process: launched with its threads pinned, its output in its run's log, dying with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from preflab.study.plan import Task
from preflab.train.files import write_json

PARENT = "PREFLAB_PARENT"


def launch(task: Task, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Starts `preflab train --run FILE` for a task; its output is appended to `run.log` in its directory."""
    task.directory.mkdir(parents=True, exist_ok=True)
    run_file = task.directory / "run.json"
    write_json(run_file, spec)
    threads = str(task.arm.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    env = {**os.environ, **dict.fromkeys(names, threads), PARENT: str(os.getpid()), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "preflab", "train", "--run", str(run_file), "--output", str(task.directory)]
    with (task.directory / "run.log").open("ab") as log:
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


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
