"""Runs one sandboxed process from start to end, under its limits, and watches the process from outside.

`open_box` starts the process and returns a `Box`. `Box.ask` writes a line to the process and reads the line that comes
back. `Box.finish` reads until the process has ended. Both methods stop at the first limit that the process exceeds.
Closing a box ends all processes in the sandbox.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import IO, Any, Literal

from preflab.sandbox.groups import ControlGroup
from preflab.sandbox.limits import BUSY, MEGABYTE, Limits
from preflab.sandbox.usage import Tree, Usage
from preflab.sandbox.walls import Descriptors, StartCommand, Walls

_Process = subprocess.Popen[bytes]
PassedLimit = Literal["", "timeout", "memory", "output-limit"]
_GLANCE_SECONDS = 0.02  # the time between two measurements of the program's CPU time and memory
_SMALL_READ = 4096  # after a read of fewer bytes than this, the next read waits a little
_ERROR_BYTES = 4096  # how many of the last bytes of standard error are kept
_ENVIRONMENT = {"PATH": os.defpath}
_STARTING_SECONDS = 10.0  # the longest time that starting the sandbox may take


class NotStarted(Exception):
    """Raised if the sandbox could not be built, which is a failure of the machine and not of the program."""


class Box:
    """A running program. `over`: the limit that the program exceeded (empty: none). `code`: the program's exit status,
    negative for a signal. `code` is None while the program runs, and stays None if the program is killed because it
    exceeded a limit. `waiting`: another program, which waits for this program (None: no program waits). The CPU time
    and the memory of the waiting program are still limited."""

    def __init__(
        self, stack: ExitStack, process: _Process, limits: Limits, meter: ControlGroup | Tree, pipes: Pipes, first: int
    ) -> None:
        self.process, self.limits, self.meter, self.pipes, self.first = process, limits, meter, pipes, first
        self.ended = os.pidfd_open(process.pid)
        stack.callback(os.close, self.ended)
        self.selector = stack.enter_context(selectors.DefaultSelector())
        stack.callback(self.kill)
        self.output, self.errors = bytearray(), bytearray()
        self.unsent = memoryview(b"")
        self.waiting: Box | None = None
        self.over: PassedLimit = ""
        self.code: int | None = None
        self.began = self.glanced = time.monotonic()
        self.spent = meter.usage().cpu_s  # the CPU time that building the sandbox took
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            os.set_blocking(stream.fileno(), False)
        for source in filter(None, (process.stdout, process.stderr, self.ended)):
            self.selector.register(source, selectors.EVENT_READ)

    def ask(self, line: bytes, *, fresh: bool = True) -> bytes | None:
        """Sends a line to the program and returns the program's answer, which is one line. Returns None if the program
        ends or exceeds a limit before it answers. `fresh`: whether the time limits start again. If the program has
        written something before this request, sends nothing and returns an empty line, which is not a valid value."""
        if self.over or self.code is not None:
            return None
        if self.output:
            return b""
        if fresh:
            self.began, self.spent = time.monotonic(), self.meter.usage().cpu_s
        self.unsent = memoryview(line)
        self.selector.register(self._stdin, selectors.EVENT_WRITE)
        self._watch(until=b"\n")
        if self.unsent:
            self._drop_sent(len(self.unsent))
        answer, newline, rest = bytes(self.output).partition(b"\n")
        self.output = bytearray(rest)
        return answer if newline else None

    def idle(self, *others: Box) -> float:
        """Returns the seconds that the program has waited since the time limits last started. The result is the wall
        time minus `BUSY` times the CPU time, and at least 0. The CPU time is the sum over this program and the
        `others`, for which the program waited."""
        worked = sum(box.meter.usage().cpu_s - box.spent for box in (self, *others))
        return max(0.0, time.monotonic() - self.began - BUSY * worked)

    def finish(self) -> None:
        """Reads until the program has ended or has been stopped."""
        if not self.over and self.code is None:
            self._watch()

    def kill(self) -> None:
        """Ends all processes in the sandbox, and waits until they have ended."""
        for descriptor in (self.first, self.ended):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        self.process.wait()
        _wait_readable(self.first)  # the first process of the namespace ends after all other processes in the namespace

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _watch(self, until: bytes = b"") -> None:
        """Writes and reads until the output contains `until`, the program has ended, or a limit is exceeded."""
        searched, small_read = 0, False
        while not (until and until in memoryview(self.output)[searched:].tobytes()):
            if small_read:
                time.sleep(_GLANCE_SECONDS / 10)  # a program that writes little at a time is read less often
            searched = len(self.output)
            ready = {key.fileobj for key, _ in self.selector.select(_GLANCE_SECONDS)}
            if self.unsent and self._stdin in ready:
                self._send()
            streams = filter(None, (self.process.stdout, self.process.stderr))
            counts = [self._read(stream) for stream in streams if stream in ready]
            if not self._keeps_limits():
                return
            if self.ended in ready and not any(counts):
                self._reap()
                return
            small_read = 0 < sum(counts) < _SMALL_READ

    def _send(self) -> None:
        try:
            self._drop_sent(os.write(self._stdin.fileno(), self.unsent))
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._drop_sent(len(self.unsent))  # the program has stopped reading; its output must still be read

    def _drop_sent(self, count: int) -> None:
        self.unsent = self.unsent[count:]
        if not self.unsent:
            self.selector.unregister(self._stdin)

    def _read(self, stream: IO[bytes]) -> int:
        """Reads the available bytes of a stream, and returns their number."""
        try:
            data = os.read(stream.fileno(), MEGABYTE)
        except BlockingIOError:
            return 0
        if not data:
            self.selector.unregister(stream)
        elif stream is self.process.stdout:
            self.output += data
        else:
            self.errors += data
            del self.errors[:-_ERROR_BYTES]
        return len(data)

    def _keeps_limits(self) -> bool:
        """Returns True if the program is within all limits. If the program has exceeded a limit, ends it and returns
        False. Measures the program's time and memory every `_GLANCE_SECONDS`."""
        if len(self.output) > self.limits.output_mb * MEGABYTE:
            self.over = "output-limit"
        elif time.monotonic() - self.glanced >= _GLANCE_SECONDS:
            self.glanced = time.monotonic()
            late = time.monotonic() - self.began > self.limits.wall_s
            self.over = "timeout" if late else self._compare_usage(self.meter.usage())
            if self.waiting is not None:
                self.waiting.watch_waiting()
        if self.over:
            self.kill()
        return not self.over

    def watch_waiting(self) -> None:
        """Ends the program of this box if it has exceeded its limit on CPU time or memory while it waits."""
        if not self.over and self.code is None:
            self.over = self._compare_usage(self.meter.usage())
            if self.over:
                self.kill()

    def _compare_usage(self, used: Usage) -> PassedLimit:
        if used.cpu_s - self.spent > self.limits.cpu_s:
            return "timeout"
        return "memory" if used.killed or used.memory > self.limits.memory_mb * MEGABYTE else ""

    def _reap(self) -> None:
        code = self.process.wait()
        if self.meter.usage().killed:  # checked first: without memory, the kernel can also kill bubblewrap itself
            self.over = "memory"
        elif not self.pipes.has_started():
            raise NotStarted(self.errors.decode(errors="replace").strip())
        self.code = 128 - code if code > 128 else code  # bubblewrap reports signals as a shell does: 128 + number
        self.kill()


class Pipes:
    """The pipes between this process and the sandbox. The sandbox writes its reports to the pipe `status`. The sandbox
    starts the program when this process has written to the pipe `hold`. `descriptors`: the sandbox's end of each pipe,
    the file with the program's source, and the file with the filter of system calls."""

    def __init__(self, ours: ExitStack, theirs: ExitStack, source: bytes, calls: bytes) -> None:
        (self.status, status), (hold, self.hold) = _make_pipe(ours, theirs), _make_pipe(theirs, ours)
        program, filters = (_make_memory_file(theirs, content) for content in (source, calls))
        self.descriptors = Descriptors(program, filters, status, hold)
        self.report = b""

    def await_first_process(self) -> int:
        """Waits for the first process inside the sandbox, and returns its process id on this machine. Raises
        `NotStarted` if the sandbox does not report this process."""
        end = time.monotonic() + _STARTING_SECONDS
        while b"\n" not in self.report:
            if not _wait_readable(self.status, max(0.0, end - time.monotonic())):
                raise NotStarted(f"the sandbox has not started within {_STARTING_SECONDS:g} s")
            data = os.read(self.status, 4096)
            if not data:
                raise NotStarted("the sandbox ended before it started the program")
            self.report += data
        return int(json.loads(self.report.partition(b"\n")[0])["child-pid"])

    def has_started(self) -> bool:
        """Checks, after the sandbox has ended, whether the program was ever started. The answer is read from the pipe
        `status`, to which the program itself cannot write."""
        while data := os.read(self.status, 4096):
            self.report += data
        return b"exit-code" in self.report


def _make_pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Makes a pipe, and returns its reading end and its writing end. Closing the stack `reader` closes the reading end.
    Closing the stack `writer` closes the writing end."""
    read, write = os.pipe()
    return _close_later(reader, read), _close_later(writer, write)


def _close_later(stack: ExitStack, descriptor: int) -> int:
    """Makes the stack close the descriptor when the stack is closed. Returns the descriptor."""
    stack.callback(os.close, descriptor)
    return descriptor


def _wait_readable(descriptor: int, seconds: float | None = None) -> bool:
    """Waits until the descriptor is readable, but at most `seconds` (None: without a time limit). Returns whether the
    descriptor is readable."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _make_memory_file(stack: ExitStack, content: bytes) -> int:
    """Returns a descriptor from which `content` can be read. The descriptor is closed when `stack` is closed."""
    descriptor = _close_later(stack, os.memfd_create("preflab"))
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextmanager
def open_box(
    walls: Walls, run: Sequence[str], source: bytes, limits: Limits, *, group: ControlGroup | None, stdin: bytes | None
) -> Generator[Box]:
    """Starts the command `run` in a sandbox that contains the program's source. `stdin`: the whole input of the
    program, or None if `ask` will write the input. Raises `NotStarted` if the sandbox could not be built."""
    with ExitStack() as stack:
        with ExitStack() as theirs:
            pipes = Pipes(stack, theirs, source, walls.filter_calls(counted=group is not None))
            feed = subprocess.PIPE if stdin is None else _make_memory_file(theirs, stdin)
            start = walls.start(run, limits, pipes.descriptors)
            process = stack.enter_context(_start_process(start, feed, pipes.descriptors))
            stack.callback(process.kill)
        try:
            inside = pipes.await_first_process()
            first = os.pidfd_open(inside)
            stack.callback(_end_first_process, first)
            _hand_over_streams(process, start.user)
            if group is not None:
                group.open(limits.memory_mb * MEGABYTE)
                group.add(inside)  # its descendants start in the same group
        except OSError as error:
            last_words = b"" if process.poll() is None else process.communicate()[1]  # its error output
            raise NotStarted(f"{error} {last_words.decode(errors='replace')}".strip()) from None
        meter = group or walls.measure(process.pid, inside, limits.memory_mb * MEGABYTE)
        box = Box(stack, process, limits, meter, pipes, first)
        with suppress(BrokenPipeError):  # if bubblewrap has already ended, `finish` will notice
            os.write(pipes.hold, b"1")
        yield box


def _hand_over_streams(process: _Process, user: int | None) -> None:
    """Makes the program's user the owner of the streams that the program reads and writes, so that the program may open the
    streams by name."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if user is not None and stream is not None:
            os.fchown(stream.fileno(), user, user)


def _end_first_process(first: int) -> None:
    """Kills the sandbox's first process if it still runs. Reaps that process if it has become a child of this process.
    Closes its descriptor."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(first, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, first, os.WEXITED | os.WNOHANG)
    os.close(first)


def _start_process(start: StartCommand, stdin: int, descriptors: Descriptors) -> _Process:
    """Starts the command as the user `start.user`. If the machine has a suitable `setpriv` (see `_can_set_user`), this
    program changes the user. Python itself can change the user too, but then the kernel copies all page tables of this
    process. In a process that trains a model, this copy takes more time than the whole sandbox."""
    settings: dict[str, Any] = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = start.command
    if start.user is not None and _can_set_user():
        command = ["setpriv", f"--reuid={start.user}", f"--regid={start.user}", "--clear-groups", "--", *command]
    elif start.user is not None:
        settings |= {"user": start.user, "group": start.user, "extra_groups": []}
    try:
        return _Process(command, pass_fds=descriptors, env=_ENVIRONMENT, **settings)
    except OSError as error:
        raise NotStarted(str(error)) from error


@cache
def _can_set_user() -> bool:
    """Checks whether this machine has a `setpriv` that changes users. The `setpriv` of util-linux does; the `setpriv`
    of busybox does not."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, env=_ENVIRONMENT).returncode == 0
    except OSError:
        return False
