"""One sandboxed process from start to end, under its limits, seen from outside.

`open_box` starts it; `ask` writes to it and reads until a line has come, `finish` reads until it has ended. Both stop at the
first limit that is passed. When a box is closed, nothing of it is left.
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
_GLANCE_SECONDS = 0.02  # between two looks at what is used
_SMALL_READ = 4096  # bytes: after a read of fewer, the next one waits a little
_ERROR_BYTES = 4096  # the last bytes of standard error, which are kept
_ENVIRONMENT = {"PATH": os.defpath}
_STARTING_SECONDS = 10.0  # that the walls may take


class NotStarted(Exception):
    """The sandbox could not be built: the machine's failure, not the program's."""


class Box:
    """A running program. `over`: the limit that it passed, if any; `code`: its exit status, negative for a signal; None while
    it runs, and where it was killed for a limit."""

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
        self.spent = meter.usage().cpu_s  # by the walls, before the program
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            os.set_blocking(stream.fileno(), False)
        for source in filter(None, (process.stdout, process.stderr, self.ended)):
            self.selector.register(source, selectors.EVENT_READ)

    def ask(self, line: bytes, *, fresh: bool = True) -> bytes | None:
        """Writes a line and reads the line that answers it; None where none came. `fresh`: the limits of time begin anew. A
        program that has written before it was asked is not asked: its answer is then the empty line, which is not a value."""
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
        """How many of the seconds since it was asked its CPU time, and that of `others` that it waited for, do not explain."""
        worked = sum(box.meter.usage().cpu_s - box.spent for box in (self, *others))
        return max(0.0, time.monotonic() - self.began - BUSY * worked)

    def finish(self) -> None:
        """Reads until the program has ended by itself or been stopped."""
        if not self.over and self.code is None:
            self._watch()

    def kill(self) -> None:
        """Ends everything in the sandbox, and waits until it has ended."""
        for descriptor in (self.first, self.ended):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        self.process.wait()
        _wait_readable(self.first)  # the namespace's first process ends when all others have

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
            self._drop_sent(len(self.unsent))  # what the program writes of that is still on its way

    def _drop_sent(self, count: int) -> None:
        self.unsent = self.unsent[count:]
        if not self.unsent:
            self.selector.unregister(self._stdin)

    def _read(self, stream: IO[bytes]) -> int:
        """Reads what a stream holds; returns how many bytes."""
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
        """Whether the program keeps every limit; the first one that it passes ends it. What it uses is read every
        `_GLANCE_SECONDS`."""
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
        if self.meter.usage().killed:  # perhaps the process of the walls
            self.over = "memory"
        elif not self.pipes.has_started():
            raise NotStarted(self.errors.decode(errors="replace").strip())
        self.code = 128 - code if code > 128 else code  # bubblewrap reports a signal as a shell does
        self.kill()


class Pipes:
    """The pipes to the walls: they report in `status`, and begin the program when something can be read in `hold`.
    `descriptors`: their ends of these and of what they read."""

    def __init__(self, ours: ExitStack, theirs: ExitStack, source: bytes, calls: bytes) -> None:
        (self.status, status), (hold, self.hold) = _make_pipe(ours, theirs), _make_pipe(theirs, ours)
        program, filters = (_make_memory_file(theirs, content) for content in (source, calls))
        self.descriptors = Descriptors(program, filters, status, hold)
        self.report = b""

    def await_first_process(self) -> int:
        """Waits for the process that is number 1 inside. Raises `NotStarted`."""
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
        """Whether the program of a sandbox that has ended ever began. Only bubblewrap writes to this pipe."""
        while data := os.read(self.status, 4096):
            self.report += data
        return b"exit-code" in self.report


def _make_pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with these stacks."""
    read, write = os.pipe()
    return _close_later(reader, read), _close_later(writer, write)


def _close_later(stack: ExitStack, descriptor: int) -> int:
    """Returns the descriptor, which is closed with the stack."""
    stack.callback(os.close, descriptor)
    return descriptor


def _wait_readable(descriptor: int, seconds: float | None = None) -> bool:
    """Waits until there is something to read, at most so many seconds (None: however long it takes); whether there is."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else 1000 * seconds))


def _make_memory_file(stack: ExitStack, content: bytes) -> int:
    """A descriptor to read the content from, which is closed with the stack."""
    descriptor = _close_later(stack, os.memfd_create("preflab"))
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextmanager
def open_box(
    walls: Walls, run: Sequence[str], source: bytes, limits: Limits, *, group: ControlGroup | None, stdin: bytes | None
) -> Generator[Box]:
    """Starts `run` with the program's source in place. `stdin`: all of its input, or None where `ask` will write it. Raises
    `NotStarted` where the walls could not be built."""
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
            last_words = b"" if process.poll() is None else process.communicate()[1]  # of walls that have ended
            raise NotStarted(f"{error} {last_words.decode(errors='replace')}".strip()) from None
        meter = group or walls.measure(process.pid, inside, limits.memory_mb * MEGABYTE)
        box = Box(stack, process, limits, meter, pipes, first)
        with suppress(BrokenPipeError):  # the walls ended at once, which `finish` will find
            os.write(pipes.hold, b"1")
        yield box


def _hand_over_streams(process: _Process, user: int | None) -> None:
    """Gives what the program reads and writes to its user, so that the program may open it by name."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if user is not None and stream is not None:
            os.fchown(stream.fileno(), user, user)


def _end_first_process(first: int) -> None:
    """Ends the sandbox's first process, whatever happened before, and reaps it where it has become a child of this one."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(first, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, first, os.WEXITED | os.WNOHANG)
    os.close(first)


def _start_process(start: StartCommand, stdin: int, descriptors: Descriptors) -> _Process:
    """Starts the command as its user. Where possible another program changes the user: if this process did it, the kernel
    would first copy all its tables of memory, which in a process that trains costs more than the whole sandbox."""
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
    """Whether there is a `setpriv` that changes users (util-linux; busybox has a lesser one)."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, env=_ENVIRONMENT).returncode == 0
    except OSError:
        return False
