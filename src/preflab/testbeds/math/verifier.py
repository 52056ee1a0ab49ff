"""Verifies final answers with math-verify. math-verify runs in a separate process with limits on time and memory.

math-verify limits its own time by a signal. The signal works only in the main thread and cannot interrupt a long
arithmetic operation. If an answer takes too long, this module therefore ends the process, and starts a new process for
the next answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from preflab.errors import UserError
from preflab.testbeds.math.compare import compare_plainly, simplify_answer

Outcome = Literal["passed", "failed", "timeout"]
SECONDS = 10.0
"""The time limit for the verification of one answer, in seconds. math-verify also limits each of its steps to 2 s, but
it cannot interrupt every step."""
_STARTS_WITHIN = 120.0
_MOST_KEPT = 20_000


class Verifier:
    """Compares final answers with right answers. The separate process starts when an answer first needs math-verify."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._kept: dict[bytes, Outcome] = {}  # the keys are digests: no right answer is stored as plain text

    def verify(self, right: str, answer: str) -> Outcome:
        """Returns "passed" if `answer` is equal to `right`, and "failed" otherwise. Returns "timeout" if the comparison
        takes too long or needs too much memory. `right` and `answer` are final answers without the text around them."""
        pair = simplify_answer(right), simplify_answer(answer)
        plain = compare_plainly(*pair)
        if plain is not None:
            return "passed" if plain else "failed"
        key = hashlib.sha256(json.dumps(pair).encode()).digest()
        with self._lock:
            if key not in self._kept:
                while len(self._kept) >= _MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[key] = self._ask(*pair)
            return self._kept[key]

    def _ask(self, right: str, answer: str) -> Outcome:
        process = self.get_process()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"right": right, "answer": answer}).encode() + b"\n")
            process.stdin.flush()
            line = _read_line(process, self.seconds)
        except OSError:  # the process has ended
            line = b""
        if line not in (b"true\n", b"false\n"):  # the process is too slow, or was killed for its memory use
            self.close()
            return "timeout"
        return "passed" if line == b"true\n" else "failed"

    def get_process(self) -> subprocess.Popen[bytes]:
        """Returns the verifier's process, and starts this process if necessary. If preflab's process was forked, the
        child starts a separate verifier process."""
        if self._process is None or self._owner != os.getpid():
            self._process, self._owner = _start_process(), os.getpid()
        return self._process

    def close(self) -> None:
        """Ends the verifier's process, if it runs."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextmanager
def open_verifier(seconds: float = SECONDS) -> Generator[Verifier]:
    """Yields a verifier, and ends the verifier's process at the end of the context."""
    verifier = Verifier(seconds)
    try:
        yield verifier
    finally:
        verifier.close()


def _start_process() -> subprocess.Popen[bytes]:
    """Starts the verifier's process, waits until the process is ready, and returns the process. Raises `UserError` if
    the process does not become ready."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("verifier_process.py"))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if _read_line(process, _STARTS_WITHIN) != b"ready\n":
        process.kill()
        process.wait()
        raise UserError(
            "The process that verifies mathematical answers does not start. Check that math-verify is installed. "
            f"Run the command `{' '.join(command)}`. It must print `ready`."
        )
    return process


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Returns the next line that a process writes. If the process ends or takes more than `seconds`, returns the part
    of the line that has arrived."""
    assert process.stdout is not None
    end, line = time.monotonic() + seconds, b""
    while not line.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return line
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            return line
        line += part
    return line
