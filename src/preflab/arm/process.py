"""Runs one arm or match in a separate process. The kernel kills this process if the study's process dies.

If a study cannot fork its own process, it starts `python -m preflab.arm.process RUN_FILE DIRECTORY`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from preflab.endings import Stopped, report_error

PARENT = "PREFLAB_PARENT"
"""The name of the environment variable with the process id of the study that started this process."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""The environment variables with the number of threads of a process that computes."""


def run_arm(run_file: Path, directory: Path) -> int:
    """Executes the arm or the match that a run file describes. Returns the exit code: 0 after success, 1 after a
    failure, 2 after a mistake of the user or an error of the disk (full or broken), and 70 after a bug in preflab."""
    from preflab.arm.execute import execute
    from preflab.arm.match import Match
    from preflab.arm.play import execute_match
    from preflab.arm.spec import Arm
    from preflab.plain import read_data
    from preflab.spec import parse_spec
    from preflab.train.settings import Keeping

    die_with_parent()
    try:
        data = read_data(run_file)
        if isinstance(data, dict) and data.get("kind") == "match":
            execute_match(parse_spec(Match, data, where=str(run_file)), directory)
        else:
            execute(parse_spec(Arm, data, where=str(run_file)), directory, keeping=Keeping(progress=False))
    except (Exception, KeyboardInterrupt, Stopped) as error:
        return report_error(error)
    return 0


def die_with_parent() -> None:
    """Asks the kernel to kill this process when the study that started it dies. Does nothing if no study started this
    process."""
    parent = os.environ.pop(PARENT, None)  # removed, so that child processes do not inherit it
    if parent is None or not sys.platform.startswith("linux"):
        return
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != int(parent):  # the study died before `prctl` was called
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run_arm(Path(sys.argv[1]), Path(sys.argv[2])))
