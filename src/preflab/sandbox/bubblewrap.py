"""Isolates programs with bubblewrap: new namespaces, a read-only root, no network, no capabilities, filtered system
calls.

If preflab runs as root, each run also gets a user id that no other run has. Some objects of the kernel, such as
keyrings, belong to a user id and not to a namespace. With its own user id, each run has its own set of these objects.
Processes that a program leaves behind end together with the process namespace.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence

from preflab.errors import UserError
from preflab.sandbox import seccomp
from preflab.sandbox.image import DEVICES, find_image, warm_image
from preflab.sandbox.limits import CORE_BYTES, MEGABYTE, Limits
from preflab.sandbox.usage import Tree
from preflab.sandbox.walls import INNER_ENVIRONMENT, INNER_SOURCE, Descriptors, StartCommand, Walls

_INNER_USER = "65534"  # the user id inside the sandbox: the id of the user `nobody`
_OUTER_USERS = range(0x40000000, 0x60000000)  # the user ids outside the sandbox, far from every real user id
_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
_users = itertools.count(random.SystemRandom().randrange(len(_OUTER_USERS)))


def explain_absence() -> str:
    """Returns the reason why this machine cannot use bubblewrap, or '' if a trial run of bubblewrap succeeds."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux; on another system, run preflab in a Linux container or virtual machine"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap)"
    command = ["bwrap", "--ro-bind", "/", "/", *_NAMESPACES, "--proc", "/proc", "true"]
    user = _make_user()
    groups = None if user is None else []
    trial = subprocess.run(command, user=user, group=user, extra_groups=groups, capture_output=True, text=True)
    if trial.returncode == 0:
        return ""
    return (
        f"bubblewrap cannot make its namespaces here ({trial.stderr.strip()}). The kernel must let users make namespaces: "
        "sysctl kernel.unprivileged_userns_clone=1, or in a container --security-opt seccomp=unconfined"
    )


def _make_user() -> int | None:
    """If this process runs as root, returns a user id that no other run uses. Otherwise returns None, which means that
    the run uses the user id of this process."""
    return _OUTER_USERS[next(_users) % len(_OUTER_USERS)] if os.geteuid() == 0 else None


class Bubblewrap(Walls):
    """The backend that isolates programs with bubblewrap. Needs the kernel's unprivileged user namespaces. An opened
    backend can be used for many runs, and from several threads at once."""

    def __init__(self) -> None:
        if trouble := explain_absence():
            raise UserError(f"The sandbox cannot be built: {trouble}.")
        self.image = find_image()
        self.version = subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout.split()[-1]
        self.filters = {counted: seccomp.build_filter(counted=counted) for counted in (True, False)}

    def filter_calls(self, *, counted: bool) -> bytes:
        return self.filters[counted]

    def measure(self, process: int, first: int, memory: int) -> Tree:
        return Tree(process, memory, first)

    def furnish(self, packages: Sequence[str]) -> None:
        self.image = find_image(packages)
        warm_image(self.image)

    def start(self, run: Sequence[str], limits: Limits, fds: Descriptors) -> StartCommand:
        devices = [word for name in DEVICES for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")]
        environment = [word for name, value in INNER_ENVIRONMENT.items() for word in ("--setenv", name, value)]
        command = [
            *_refuse_core_dumps(),
            *("bwrap", *_NAMESPACES, "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *("--clearenv", "--uid", _INNER_USER, "--gid", _INNER_USER, "--hostname", "sandbox", *environment),
            *("--ro-bind", str(self.image), "/", *devices),
            *("--proc", "/proc", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1"),
            *("--size", str(limits.disk_mb * MEGABYTE), "--tmpfs", "/tmp", "--file", str(fds.source), INNER_SOURCE),
            *("--chdir", "/tmp", "--json-status-fd", str(fds.status), "--block-fd", str(fds.hold)),
            *("--seccomp", str(fds.filter), "--", "/bin/sh", "-c", _format_limits(limits), "sh", *run),
        ]
        return StartCommand(command, _make_user())


def _refuse_core_dumps() -> Sequence[str]:
    """Returns the words that are put before a command to limit the command's core dumps to 1 byte. With this limit, the
    kernel does not start the machine's crash handler, which runs outside the sandbox, when a process crashes. Returns
    no words if the machine has no `prlimit`. Also returns no words if the hard limit of this process is 0, because the
    process cannot raise it to 1."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 or shutil.which("prlimit") is None:
        return ()
    return ("prlimit", f"--core={CORE_BYTES}:{CORE_BYTES}", "--")


def _format_limits(limits: Limits) -> str:
    """Returns the shell commands that set the limits of each single process. The judge limits the sum over all
    processes.

    The commands limit the file size (in blocks of 512 bytes), the number of open files, core dumps (unless `prlimit`
    limits them), the stack, and the number of the user's processes. The option for the number of processes is `-u` in
    bash and `-p` in dash. The limit of the stack is the memory limit, as in programming competitions. If this is not
    allowed, the limit of the stack is the hard limit of this process. The commands do not limit CPU time, because the
    CPU limit applies to one test and a process can run many tests."""
    processes = f"{{ ulimit -u {limits.processes} 2>/dev/null || ulimit -p {limits.processes}; }}"
    stack = f'{{ ulimit -s {limits.memory_mb << 10} 2>/dev/null || ulimit -S -s "$(ulimit -H -s)"; }}'
    dumps = "" if _refuse_core_dumps() else " && ulimit -c 0"
    bounds = f"ulimit -f {limits.disk_mb * MEGABYTE // 512} && ulimit -n 256{dumps}"
    return f'{bounds} && {stack} && {processes} && exec "$@"'
