"""Counts the wall seconds and the CPU seconds of this process while it runs."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class Clock:
    def __init__(self) -> None:
        self.seconds = self.cpu = 0.0
        self._since = (0.0, 0.0)

    def start(self) -> None:
        self._since = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self._since[0]
        self.cpu += time.process_time() - self._since[1]

    @contextmanager
    def running(self) -> Generator[None]:
        self.start()
        yield
        self.stop()
