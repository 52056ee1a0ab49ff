"""Runs one arm as a process of its own, which dies with its parent. The exit code says how the process ended.

A study that cannot fork starts `python -m preflab.arm.process RUN_FILE DIRECTORY`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from preflab.endings import Stopped, report_error

PARENT = "PREFLAB_PARENT"
"""The environment variable that holds the process id of the study that started this process."""


def run_arm(run_file: Path, directory: Path) -> int:
    """Executes the arm or the match that a run file describes. Returns the exit code: 0 done, 1 failed, 2 a mistake of
    the user or a disk that is full or fails, 70 a defect of preflab."""
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
    parent = os.environ.pop(PARENT, None)  # removed: what this process starts is not an arm of the study
    if parent is None or not sys.platform.startswith("linux"):
        return
    set_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != int(parent):  # the study died before the request was made
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(run_arm(Path(sys.argv[1]), Path(sys.argv[2])))
