"""Rewards of the tests' own, found in the directory in which the runs start.

`PREFLAB_TEST_STOP=SIGNAL:N` sends the run a signal while it scores for the N-th time; `PREFLAB_TEST_FILL=FILE:N` fills
FILE's disk then, and `PREFLAB_TEST_BREAK=N` lets every later `fsync` fail.
"""

from __future__ import annotations

import errno
import os
import random
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Literal

from preflab.spec import Context
from preflab.testbeds.minicode.testbed import Minicode, OpenMinicode
from preflab.types import Prompt

calls = 0


def length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Something that an untrained model differs in."""
    global calls
    calls += 1
    name, _, count = os.environ.get("PREFLAB_TEST_STOP", "").partition(":")
    if count == str(calls):
        os.kill(os.getpid(), signal.Signals[name])
    path, _, count = os.environ.get("PREFLAB_TEST_FILL", "").partition(":")
    if count == str(calls):
        fill(path)
    if os.environ.get("PREFLAB_TEST_BREAK") == str(calls):
        os.fsync = fail
    return [float(len(text)) for text in texts]


def excess(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """A cost: what an answer is longer than 8 characters."""
    return [len(text) / 8 - 1.0 for text in texts]


class Judged(Minicode):
    """Minicode whose pairs say that the right answer is safe, and the other is not."""

    kind: Literal["judged"] = "judged"  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]

    @contextmanager
    def open(self, context: Context) -> Generator[OpenMinicode]:
        opened = OpenMinicode(self, context.seed)
        pairs = opened.preferences
        opened.preferences = lambda split: [replace(row, chosen_safe=True, rejected_safe=False) for row in pairs(split)]
        yield opened


def fill(path: str) -> None:
    """Takes all that is free, to the last byte."""
    with open(path, "wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"0" * size)


def fail(descriptor: int) -> None:
    """Raises the error that `fsync` raises on a broken disk. The error names no file."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def dice(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Never the same twice, as an endpoint may be."""
    source = random.SystemRandom()
    return [source.random() for _ in texts]
