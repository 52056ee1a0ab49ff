"""Verifies final answers by math-verify, in a process of its own with limits of time and memory.

math-verify limits its time by a signal, which works only in the main thread and cannot interrupt a long step of arithmetic.
So this module ends the process if an answer needs too long, and starts another.
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
"""The most seconds for an answer. math-verify itself gives up after 2 s for each step, unless a step cannot be interrupted."""
_STARTS_WITHIN = 120.0
_MOST_KEPT = 20_000


class Verifier:
    """Compares final answers with right ones. Its process starts with the first answer that needs it."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()
        self._kept: dict[bytes, Outcome] = {}  # by a digest, so that a reward holds no right answer of the evaluation

    def verify(self, right: str, answer: str) -> Outcome:
        """Returns whether `answer` is equal to `right`: "passed" or "failed"; "timeout" if this could not be found out in
        time. Both are final answers, without the text around them."""
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
        except OSError:  # the process was ended by another
            line = b""
        if line not in (b"true\n", b"false\n"):  # too slow, or ended for its memory
            self.close()
            return "timeout"
        return "passed" if line == b"true\n" else "failed"

    def get_process(self) -> subprocess.Popen[bytes]:
        """Returns the process. A process that was forked from the one that started it gets one of its own."""
        if self._process is None or self._owner != os.getpid():
            self._process, self._owner = _start_process(), os.getpid()
        return self._process

    def close(self) -> None:
        """Ends the process."""
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
    """Opens a verifier, and ends its process at the end of the context."""
    verifier = Verifier(seconds)
    try:
        yield verifier
    finally:
        verifier.close()


def _start_process() -> subprocess.Popen[bytes]:
    """Starts the process and waits until it is ready. Raises `UserError` if it does not start."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("verifier_process.py"))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if _read_line(process, _STARTS_WITHIN) != b"ready\n":
        process.kill()
        process.wait()
        raise UserError(
            "The process that verifies mathematical answers does not start. Is math-verify installed? Try "
            f"`{' '.join(command)}`; it prints `ready`."
        )
    return process


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Returns the next line of a process; what there is of it if the process ends or needs more than `seconds`."""
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
