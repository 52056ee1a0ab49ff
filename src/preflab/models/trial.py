"""Tries a call in a child process, so that a call that takes too much memory or time does not harm this process."""

from __future__ import annotations

import os
import resource
import select
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SIZES = Path("/proc/self/statm")


def try_call(call: Callable[[], object], *, seconds: float, megabytes: int) -> str:
    """Calls `call` in a copy of this process. `seconds`: the time limit of the call. `megabytes`: the limit of the
    additional memory that the call uses.

    Returns '' if the call stays within both limits. If the call exceeds a limit, returns a text that names this limit.
    An exception in the call is ignored, because the caller will call the function again and get the same exception. The
    memory is limited only on Linux.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of a fork in a process with several threads. The warning does not apply here, because the child
        # process does not use locks of other threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _call_and_exit(call, writer, seconds, megabytes)
    os.close(writer)
    in_time, answer = False, b""
    try:
        waiting = select.poll()
        waiting.register(reader, select.POLLIN)
        in_time = bool(waiting.poll(seconds * 1000))
        answer = os.read(reader, 1) if in_time else b""
    finally:
        os.close(reader)
        _end(child)
    if not in_time:
        return f"it takes more than {seconds:g} s"
    return "" if answer else f"it takes more than {megabytes} MB of memory"


def _call_and_exit(call: Callable[[], object], writer: int, seconds: float, megabytes: int) -> None:
    """Calls `call` with a time limit and a memory limit. Writes one byte to the pipe `writer` if `call` does not exceed
    the limits. Then ends this process without clean-up."""
    try:
        _limit(seconds, megabytes)
        call()
        os.write(writer, b"1")
    except MemoryError:
        pass
    except BaseException:
        os.write(writer, b"1")
    finally:
        os._exit(0)


def _limit(seconds: float, megabytes: int) -> None:
    """Limits the memory and the CPU time of this process. The CPU time is limited so that the process ends even if its
    parent has already ended."""
    _lower(resource.RLIMIT_CPU, int(seconds) + 2)
    if _SIZES.exists():
        pages = int(_SIZES.read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + megabytes * 2**20)


def _lower(kind: int, most: int) -> None:
    soft, hard = resource.getrlimit(kind)
    bounds = [most, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(kind, (min(bounds), hard))


def _end(child: int) -> None:
    """Ends the child process and waits for its end. The child process may no longer exist, because the system removes
    ended processes by itself if `SIGCHLD` is ignored."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
