"""Runs a process under limits but without isolation. Users can choose this backend if no other backend works.

This backend stops a program that computes, sleeps, allocates or prints without end. The backend does not stop other
attacks. A program has all rights of the user who runs preflab. The program can read and write this user's files, open
network connections, and signal this user's processes. It can also start very many processes, or leave a process behind
in another session. The verdict is still formed outside the program.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from preflab.sandbox.limits import CORE_BYTES, MEGABYTE, Limits
from preflab.sandbox.packages import find_distributions
from preflab.sandbox.walls import INNER_ENVIRONMENT, INNER_PYTHON, INNER_SOURCE, Descriptors, StartCommand, Walls

_LAUNCHER = """
import json, os, resource, shutil, signal, sys, tempfile
home, source, status, hold, disk, stack, core, *command = sys.argv[1:]
source, status, hold = int(source), int(status), int(hold)
place = tempfile.mkdtemp(dir=home)
path = os.path.join(place, "main.py")
with os.fdopen(source, "rb") as program, open(path, "wb") as file:
    shutil.copyfileobj(program, file)
pid = os.fork()
if pid == 0:
    os.setsid()
    os.read(hold, 1)
    os.close(hold); os.close(status)
    for what, bound in ((resource.RLIMIT_FSIZE, int(disk)), (resource.RLIMIT_CORE, int(core))):
        most = resource.getrlimit(what)[1]
        bound = bound if most < 0 else min(bound, most)
        resource.setrlimit(what, (bound, bound))
    most = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (int(stack) if most < 0 else min(int(stack), most), most))
    os.chdir(place)
    os.execv(command[0], [path if word == "SOURCE" else word for word in command])
os.write(status, json.dumps({"child-pid": pid}).encode() + b"\\n")
os.close(hold)
_, ended = os.waitpid(pid, 0)
try:
    os.killpg(pid, signal.SIGKILL)
except ProcessLookupError:
    pass
shutil.rmtree(place, ignore_errors=True)
os.write(status, json.dumps({"exit-code": 0}).encode() + b"\\n")
code = os.waitstatus_to_exitcode(ended)
os._exit(128 - code if code < 0 else code)
"""


class Bare(Walls):
    """Starts processes without isolation, through the same interface as `Bubblewrap`. Needs no special program and no
    special right, so it works on every Linux machine."""

    not_stopped = (
        "no walls: the backend `bare` does not isolate programs. A program can read and write your files, open connections, "
        "start processes, fill the disk, and leave processes behind. Do not judge programs of a model that is rewarded for "
        "passing tests."
    )

    def __init__(self) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="preflab-bare-")  # removed when this process ends

    def furnish(self, packages: Sequence[str]) -> None:
        """Checks that the packages are installed. Programs can import all packages of this interpreter."""
        find_distributions(packages)

    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        words = [sys.executable if word == INNER_PYTHON else "SOURCE" if word == INNER_SOURCE else word for word in run]
        environment = [f"{name}={value}" for name, value in INNER_ENVIRONMENT.items() if name != "PATH"]
        numbers = map(
            str,
            (
                self.home.name,
                fds.source,
                fds.status,
                fds.hold,
                limits.disk_mb * MEGABYTE,
                limits.memory_mb * MEGABYTE,
                CORE_BYTES,
            ),
        )
        clean = ("/usr/bin/env", "-i", "PATH=/bin:/usr/bin", *environment)
        return StartCommand([*clean, sys.executable, "-I", "-c", _LAUNCHER, *numbers, *words], None)
