"""A side of a benchmark as the harness sees it: a worker process, and the repetitions that it has made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import STEADY, share_of
from benchmarks.memory import PeakMemory

ROOT = Path(__file__).resolve().parent.parent
MOST_REPEATED = 3
KEPT = ("seconds", "cpu", "work")


def python_of(peer: str | None) -> str:
    """The interpreter of a peer, in the environment that `make parity` makes too; this one where the peer needs none."""
    if peer is None or not peer.startswith("trl-"):
        return sys.executable
    subprocess.run(["make", "--no-print-directory", f".parity/{peer}/ready"], cwd=ROOT, check=True)
    return str(ROOT / ".parity" / peer / "bin" / "python")


class Side:
    """`name`: how tables call it. `module`: the file in `benchmarks/sides` that it runs. `log`: where it prints."""

    def __init__(self, name: str, module: str, *, threads: int, python: str, log: Path) -> None:
        self.name, self.threads, self.log = name, threads, log
        self.repetitions: list[dict[str, float]] = []
        self.repeated = self.memory = 0
        count = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [python, str(ROOT / "benchmarks" / "worker.py"), module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | count | quiet,
            )

    def warm_up(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Prepares the side and repeats the work once, untimed, while its memory is watched. Returns the answer."""
        with PeakMemory(self._process.pid) as peak:
            self._ask({**request, "do": "prepare", "threads": self.threads})
            answer = self._ask({"do": "repeat"})
        self.memory = peak.bytes
        return answer

    def repeat(self) -> None:
        """Repeats the work; up to `MOST_REPEATED` times again while the repetition is disturbed. Keeps the steadiest."""
        tries: list[dict[str, float]] = []
        best = max(map(self.share, self.repetitions), default=0.0)
        while len(tries) <= MOST_REPEATED and not any(self.share(done) >= STEADY * best for done in tries):
            answer = self._ask({"do": "repeat"})
            tries.append({name: round(answer[name], 5) for name in KEPT})
        self.repetitions.append(max(tries, key=self.share))
        self.repeated += len(tries) - 1

    def share(self, repetition: Mapping[str, float]) -> float:
        return share_of(repetition, self.threads)

    def close(self) -> None:
        """Ends the worker, which may be busy if another side has failed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def record(self) -> dict[str, Any]:
        return {"repetitions": self.repetitions, "repeated": self.repeated, "memory": self.memory}

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self.log.read_text()[-3000:]}
        if "error" in answer:
            raise RuntimeError(f"{self.name} failed:\n{answer['error']}")
        return answer
