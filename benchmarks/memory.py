"""The peak memory of a process and its children: the largest sum of their proportional set sizes (PSS)."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import psutil

INTERVAL = 0.05


class PeakMemory:
    """Looks every `INTERVAL` seconds while the context is open. `bytes`: the largest sum so far."""

    def __init__(self, pid: int) -> None:
        self.process = psutil.Process(pid)
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(INTERVAL):
            tree = (self.process, *self.process.children(recursive=True))
            self.bytes = max(self.bytes, sum(pss(process.pid) for process in tree))


def pss(pid: int) -> int:
    """The proportional set size of a process in bytes; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
