"""One sandboxed process from start to end, under its limits, seen from outside.

`Box.open` starts it; `ask` writes to it and reads until a line has come, `finish` until it has ended. Both stop at the first
limit that is passed. When a box is closed nothing of it is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import IO, Literal

from preflab.sandbox.limits import MEGABYTE, Limits
from preflab.sandbox.usage import Group, Tree, Usage
from preflab.sandbox.walls import Descriptors, Start, Walls

Over = Literal["", "timeout", "memory", "output-limit"]
GLANCE = 0.02  # seconds between two looks at what is used
KEPT = 4096  # bytes of standard error that are kept, the last ones
STARTING = 10.0  # seconds that the walls may take


class NotStarted(Exception):
    """The sandbox could not be built: the machine's failure, not the program's."""


class Box:
    """A running program. `over`: the limit that it passed, if any; `code`: its exit status, negative for a signal; None while
    it runs, and where it was killed for a limit."""

    def __init__(
        self, process: subprocess.Popen[bytes], limits: Limits, meter: Group | Tree, pipes: Pipes, first: int
    ) -> None:
        self.process, self.limits, self.meter, self.pipes, self.first = process, limits, meter, pipes, first
        self.output, self.errors = bytearray(), bytearray()
        self.over: Over = ""
        self.code: int | None = None
        self.began = time.monotonic()
        self.spent = meter.usage().cpu_s  # by the walls, before the program
        self.selector = selectors.DefaultSelector()
        assert process.stdout is not None and process.stderr is not None
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
            self.selector.register(stream, selectors.EVENT_READ)
        self.ended = os.pidfd_open(process.pid)
        self.selector.register(self.ended, selectors.EVENT_READ)

    def ask(self, line: bytes, *, fresh: bool = True) -> bytes | None:
        """Writes a line and reads one, under `fresh` limits of time or what is left of them; None where none came. Who has
        spoken before being asked is not asked: the answer is an empty line, which is no value."""
        if self.output:
            return b""
        if fresh:
            self._begin()
        if not self._feed(line):
            return None
        self._watch(lambda: b"\n" in self.output)
        answer, newline, rest = bytes(self.output).partition(b"\n")
        self.output = bytearray(rest)
        return answer if newline else None

    def finish(self) -> None:
        """Reads until the program has ended by itself or been stopped."""
        self._watch(lambda: False)

    def kill(self) -> None:
        """Ends everything in the sandbox and waits for the end of it."""
        for descriptor in (self.first, self.ended):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        self.process.wait()
        select.select([self.first], [], [])  # the namespace's first process ends when all others have

    def close(self) -> None:
        self.kill()
        self.selector.close()
        os.close(self.ended)

    def _begin(self) -> None:
        self.began, self.spent = time.monotonic(), self.meter.usage().cpu_s

    def _feed(self, line: bytes) -> bool:
        """Whether the program took the line in time."""
        assert self.process.stdin is not None
        descriptor, rest = self.process.stdin.fileno(), memoryview(line)
        os.set_blocking(descriptor, False)
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                if not self._within():
                    return False
                time.sleep(GLANCE / 4)
            except BrokenPipeError:
                return True  # what it has to say of that is on its way
        return True

    def _watch(self, enough: Callable[[], bool]) -> None:
        """Reads until there is enough, the program has ended, or a limit is passed."""
        assert self.process.stdout is not None and self.process.stderr is not None
        streams = (self.process.stdout, self.process.stderr)
        while not enough():
            ready = {key.fileobj for key, _ in self.selector.select(GLANCE)}
            read = [self._read(stream) for stream in streams if stream in ready]
            if not self._within():
                return
            if self.ended in ready and not any(read):
                self._reap()
                return

    def _read(self, stream: IO[bytes]) -> bool:
        """Whether there was something to read."""
        try:
            data = os.read(stream.fileno(), MEGABYTE)
        except BlockingIOError:
            return False
        if not data:
            self.selector.unregister(stream)
            return False
        if stream is self.process.stdout:
            self.output += data
        else:
            self.errors += data
            del self.errors[:-KEPT]
        return True

    def _within(self) -> bool:
        """Whether every limit is kept; the first one that is not ends the program."""
        used = self.meter.usage()
        self.over = self._passed(used)
        if self.over:
            self.kill()
        return not self.over

    def _passed(self, used: Usage) -> Over:
        if used.cpu_s - self.spent > self.limits.cpu_s or time.monotonic() - self.began > self.limits.wall_s:
            return "timeout"
        if used.killed or used.memory > self.limits.memory_mb * MEGABYTE:
            return "memory"
        return "output-limit" if len(self.output) > self.limits.output_mb * MEGABYTE else ""

    def _reap(self) -> None:
        code = self.process.wait()
        if not self.pipes.has_started():
            raise NotStarted(self.errors.decode(errors="replace").strip())
        self.code = 128 - code if code > 128 else code  # bubblewrap tells of a signal as a shell does
        if self.meter.usage().killed:
            self.over = "memory"
        self.kill()


class Pipes:
    """What the walls say (`status`) and hear: something in `hold` lets the program begin."""

    def __init__(self, stack: contextlib.ExitStack, source: bytes, calls: bytes) -> None:
        (self.status, status), (hold, self.hold) = os.pipe(), os.pipe()
        self.given = Descriptors(file(source), file(calls), status, hold)
        for descriptor in (self.status, self.hold):
            stack.callback(os.close, descriptor)
        self.told = b""

    def first_process(self) -> int:
        """The process that is number 1 inside. Raises `NotStarted`."""
        end = time.monotonic() + STARTING
        while b"\n" not in self.told:
            if not select.select([self.status], [], [], max(0.0, end - time.monotonic()))[0]:
                raise NotStarted(f"bubblewrap does not answer for {STARTING:g} s")
            data = os.read(self.status, 4096)
            if not data:
                raise NotStarted("bubblewrap ended at once")
            self.told += data
        return int(json.loads(self.told.partition(b"\n")[0])["child-pid"])

    def has_started(self) -> bool:
        """Of a sandbox that has ended: whether the program ever began. Only bubblewrap writes here."""
        while data := os.read(self.status, 4096):
            self.told += data
        return b"exit-code" in self.told


def file(content: bytes) -> int:
    """A descriptor to read the content from."""
    descriptor = os.memfd_create("preflab")
    with os.fdopen(os.dup(descriptor), "wb") as out:
        out.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextmanager
def opened(
    walls: Walls, run: Sequence[str], source: bytes, limits: Limits, *, group: Group | None, stdin: bytes | None
) -> Generator[Box]:
    """Starts `run` with the program's source in place. `stdin`: all of its input, or None where `ask` will write it. Raises
    `NotStarted` where the walls could not be built."""
    with contextlib.ExitStack() as stack:
        pipes = Pipes(stack, source, walls.filter)
        feed = subprocess.PIPE if stdin is None else file(stdin)
        try:
            process = launch(walls.start(run, limits, pipes.given), feed, pipes.given)
        finally:
            for descriptor in (*pipes.given, *([] if stdin is None else [feed])):
                os.close(descriptor)
        stack.callback(end, process)
        try:
            inside = pipes.first_process()
            first = os.pidfd_open(inside)
            stack.callback(os.close, first)
            if group is not None:
                group.open(limits.memory_mb * MEGABYTE)
                for pid in (process.pid, inside):
                    group.add(pid)
        except ProcessLookupError:
            raise NotStarted(process.communicate()[1].decode(errors="replace").strip()) from None
        box = Box(process, limits, group or Tree(process.pid, limits.memory_mb * MEGABYTE), pipes, first)
        stack.callback(box.close)
        with contextlib.suppress(BrokenPipeError):  # they fell at once: `finish` will say so
            os.write(pipes.hold, b"1")
        yield box


def launch(start: Start, stdin: int, given: Descriptors) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            start.command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=given,
            user=start.user,
            group=start.user,
            extra_groups=None if start.user is None else [],
            env={"PATH": os.defpath},
        )
    except OSError as error:
        raise NotStarted(str(error)) from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Whatever happened before the walls stood."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
