"""Executes one run on a machine of a cluster: `python -m preflab.study.launchers.node ORDER_FILE TOKEN`.

The order file lies on the shared file system beside the run's directory. The run writes in a new attempt (see
`attempts`), and the record of its exit code ends the attempt. If this process is asked to stop, it stops the run, which
then writes a checkpoint. The attempt is not marked as ended then, and the cluster or the study starts another one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from preflab.arm.process import PARENT, THREAD_VARIABLES
from preflab.endings import report_error
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.directory import RUN_FILE
from preflab.study.launchers.attempts import begin_attempt, write_ending
from preflab.train.files import read_json, write_json
from preflab.train.log import RUN_LOG

STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM, -signal.SIGINT)
"""The exit codes of a run that was asked to stop."""
_POLL_SECONDS = 0.2


class NodeOrder(BaseModel):
    """The content of an order file. `token`: a random word, which the study changes when it replaces the order.
    `directory`: the directory that the study planned for the run. `content`: the content of the run file. `folder`:
    the study's working directory, in which a relative path of the user is looked up. `environment`: further
    environment variables.
    """

    token: str
    directory: str
    content: dict[str, Any]
    threads: int
    folder: str
    environment: dict[str, str]


class NodeRun:
    """A run on this machine. `order_file`: the path of the order file. `token`: the token of the order to execute."""

    def __init__(self, order_file: Path, token: str) -> None:
        self._order_file = order_file
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self) -> int:
        """Executes the run in a new attempt, and returns the exit code. If this function is interrupted, the run stops.
        Raises `UserError` if the order was withdrawn or replaced."""
        order = parse_spec(NodeOrder, read_json(self._order_file), where=str(self._order_file))
        if order.token != self._token:
            raise UserError(f"The order in {self._order_file} was replaced by a newer one, so this job does nothing.")
        attempt = begin_attempt(Path(order.directory))
        write_json(attempt / RUN_FILE, order.content)
        process = self._process = start_run(order, attempt)
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop()
            raise
        code = process.returncode
        if code not in STOPPED:
            write_ending(attempt, code)
        return code

    def stop(self) -> None:
        """Asks the run to stop, and waits until it has ended. Can be called by the handler of a signal."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ChildProcessError, ProcessLookupError):  # it has ended meanwhile
                os.kill(self._process.pid, signal.SIGTERM)
                # Not `Popen.wait`: the `poll` that the signal interrupted may hold its lock.
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


def start_run(order: NodeOrder, attempt: Path) -> subprocess.Popen[bytes]:
    """Starts the process of a run, whose output is appended to the attempt's `run.log`."""
    command = [sys.executable, "-m", "preflab.arm.process", str(attempt / RUN_FILE), str(attempt)]
    threads = dict.fromkeys(THREAD_VARIABLES, str(order.threads))
    environment = {**os.environ, **threads, **order.environment, PARENT: str(os.getpid())}
    folder = order.folder if os.path.isdir(order.folder) else None
    with (attempt / RUN_LOG).open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, preexec_fn=ignore_cluster_signals
        )


def ignore_cluster_signals() -> None:
    """Ignores the signal that a cluster sends to all processes of a job before it stops the job. The parent process
    handles this signal."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def execute_order(path: str, token: str) -> int:
    """Executes the run of an order file. SIGTERM stops the run."""
    run = NodeRun(Path(path), token)

    def stop(signum: int, frame: object) -> None:
        run.stop()
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    try:
        return run.execute()
    except (Exception, KeyboardInterrupt) as error:
        return report_error(error)


if __name__ == "__main__":
    sys.exit(execute_order(*sys.argv[1:]))
