"""Runs one sandboxed process from start to end, under its limits, and watches the process from outside.

`open_box` starts the process. `ask` writes to the process and reads until a line has come; `finish` reads until the process
has ended. Both stop at the first limit that the process passes. When a box is closed, nothing of the process is left.
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
_GLANCE_SECONDS = 0.02  # the time between two looks at what the program uses
_SMALL_READ = 4096  # bytes: after a read of fewer bytes, the next read waits a little
_ERROR_BYTES = 4096  # how many of the last bytes of standard error are kept
_ENVIRONMENT = {"PATH": os.defpath}
_STARTING_SECONDS = 10.0  # the longest time that the walls may take to start


class NotStarted(Exception):
    """Raised if the sandbox could not be built: the machine has failed, not the program."""


class Box:
    """A running program. `over`: the limit that the program passed (empty: none). `code`: the program's exit status,
    negative for a signal; None while the program runs, and None if the program was killed because it passed a limit."""

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
        self.over: PassedLimit = ""
        self.code: int | None = None
        self.began = self.glanced = time.monotonic()
        self.spent = meter.usage().cpu_s  # the CPU time of the walls, before the program begins
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            os.set_blocking(stream.fileno(), False)
        for source in filter(None, (process.stdout, process.stderr, self.ended)):
            self.selector.register(source, selectors.EVENT_READ)

    def ask(self, line: bytes, *, fresh: bool = True) -> bytes | None:
        """Writes a line and returns the line that answers it, or None if no answer came. `fresh`: whether the limits of time
        begin anew. If the program has written something before it was asked, the program is not asked, and the empty line is
        returned, which is not a value."""
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
        """Returns the seconds of waiting since the limits of time last began: the wall time, minus `BUSY` times the CPU time
        of this program and of the `others` that it waited for, but at least 0."""
        worked = sum(box.meter.usage().cpu_s - box.spent for box in (self, *others))
        return max(0.0, time.monotonic() - self.began - BUSY * worked)

    def finish(self) -> None:
        """Reads until the program has ended by itself or been stopped."""
        if not self.over and self.code is None:
            self._watch()

    def kill(self) -> None:
        """Ends all processes in the sandbox, and waits until they have ended."""
        for descriptor in (self.first, self.ended):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        self.process.wait()
        _wait_readable(self.first)  # the namespace's first process ends when all others have ended

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def _watch(self, until: bytes = b"") -> None:
        """Writes and reads until the output holds `until`, the program has ended, or a limit is passed."""
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
            self._drop_sent(len(self.unsent))  # the program reads no more; what it wrote about that must still be read

    def _drop_sent(self, count: int) -> None:
        self.unsent = self.unsent[count:]
        if not self.unsent:
            self.selector.unregister(self._stdin)

    def _read(self, stream: IO[bytes]) -> int:
        """Reads what a stream holds, and returns the number of bytes."""
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
        """Checks whether the program keeps every limit, and ends the program if it has passed one. What the program uses is
        read every `_GLANCE_SECONDS`."""
        if len(self.output) > self.limits.output_mb * MEGABYTE:
            self.over = "output-limit"
        elif time.monotonic() - self.glanced >= _GLANCE_SECONDS:
            self.glanced = time.monotonic()
            self.over = self._compare_usage(self.meter.usage())
        if self.over:
            self.kill()
        return not self.over

    def _compare_usage(self, used: Usage) -> PassedLimit:
        if used.cpu_s - self.spent > self.limits.cpu_s or time.monotonic() - self.began > self.limits.wall_s:
            return "timeout"
        return "memory" if used.killed or used.memory > self.limits.memory_mb * MEGABYTE else ""

    def _reap(self) -> None:
        code = self.process.wait()
        if self.meter.usage().killed:  # perhaps the kernel has killed the process of the walls
            self.over = "memory"
        elif not self.pipes.has_started():
            raise NotStarted(self.errors.decode(errors="replace").strip())
        self.code = 128 - code if code > 128 else code  # bubblewrap reports signals as a shell does: 128 + number
        self.kill()


class Pipes:
    """The pipes to the walls. The walls report in `status`, and begin the program when something can be read in `hold`.
    `descriptors`: what is handed to the walls: their end of each pipe, and the files of the program and of the filter."""

    def __init__(self, ours: ExitStack, theirs: ExitStack, source: bytes, calls: bytes) -> None:
        (self.status, status), (hold, self.hold) = _make_pipe(ours, theirs), _make_pipe(theirs, ours)
        program, filters = (_make_memory_file(theirs, content) for content in (source, calls))
        self.descriptors = Descriptors(program, filters, status, hold)
        self.report = b""

    def await_first_process(self) -> int:
        """Waits for the process that is number 1 inside the walls, and returns its number outside the walls. Raises
        `NotStarted` if the walls do not report this process."""
        end = time.monotonic() + _STARTING_SECONDS
        while b"\n" not in self.report:
            if not _wait_readable(self.status, max(0.0, end - time.monotonic())):
                raise NotStarted(f"bubblewrap does not answer for {_STARTING_SECONDS:g} s")
            data = os.read(self.status, 4096)
            if not data:
                raise NotStarted("bubblewrap ended at once")
            self.report += data
        return int(json.loads(self.report.partition(b"\n")[0])["child-pid"])

    def has_started(self) -> bool:
        """Checks whether the program ever began, after the sandbox has ended. Only the walls write to the pipe that is read
        here."""
        while data := os.read(self.status, 4096):
            self.report += data
        return b"exit-code" in self.report


def _make_pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Makes a pipe, and returns its reading end and its writing end. Each end is closed with the stack that is given for
    it."""
    read, write = os.pipe()
    return _close_later(reader, read), _close_later(writer, write)


def _close_later(stack: ExitStack, descriptor: int) -> int:
    """Makes the stack close the descriptor when the stack is closed. Returns the descriptor."""
    stack.callback(os.close, descriptor)
    return descriptor


def _wait_readable(descriptor: int, seconds: float | None = None) -> bool:
    """Waits until something can be read, but at most `seconds` (None: without an end). Returns whether something can be
    read."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _make_memory_file(stack: ExitStack, content: bytes) -> int:
    """Returns a descriptor from which `content` can be read. The descriptor is closed with the stack."""
    descriptor = _close_later(stack, os.memfd_create("preflab"))
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextmanager
def open_box(
    walls: Walls, run: Sequence[str], source: bytes, limits: Limits, *, group: ControlGroup | None, stdin: bytes | None
) -> Generator[Box]:
    """Starts `run` with the program's source in place. `stdin`: all of the program's input, or None if `ask` will write the
    input. Raises `NotStarted` if the walls could not be built."""
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
                for pid in (process.pid, inside):
                    group.add(pid)
        except OSError as error:
            last_words = b"" if process.poll() is None else process.communicate()[1]  # if the walls have ended
            raise NotStarted(f"{error} {last_words.decode(errors='replace')}".strip()) from None
        meter = group or walls.measure(process.pid, inside, limits.memory_mb * MEGABYTE)
        box = Box(stack, process, limits, meter, pipes, first)
        with suppress(BrokenPipeError):  # if the walls ended at once, `finish` will notice
            os.write(pipes.hold, b"1")
        yield box


def _hand_over_streams(process: _Process, user: int | None) -> None:
    """Makes the program's user the owner of the streams that the program reads and writes, so that the program may open the
    streams by name."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if user is not None and stream is not None:
            os.fchown(stream.fileno(), user, user)


def _end_first_process(first: int) -> None:
    """Ends the sandbox's first process, whatever happened before. Reaps that process if it has become a child of this
    process."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(first, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, first, os.WEXITED | os.WNOHANG)
    os.close(first)


def _start_process(start: StartCommand, stdin: int, descriptors: Descriptors) -> _Process:
    """Starts the command as its user. If possible, another program changes the user. This process does not change
    the user itself, because the kernel would then copy all of its page tables. In a process that trains, that copy costs
    more than the whole sandbox."""
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
    """Checks whether this machine has a `setpriv` that changes users. The `setpriv` of util-linux does; the one of busybox
    can do less."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, env=_ENVIRONMENT).returncode == 0
    except OSError:
        return False
