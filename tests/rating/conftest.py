"""Pairs to rate, and a served page in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from preflab.rating import RatedPair
from preflab.rating.folder import keep_pairs
from preflab.types import Turn

HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>\u202e\x1b[31m"


@pytest.fixture
def pairs() -> list[RatedPair]:
    """Six pairs; the answers say which is which, and are hostile."""
    turns = (Turn("user", "How do I boil an egg?"), Turn("assistant", HOSTILE), Turn("user", "Say it again."))
    return [RatedPair(f"p{n}", turns, f"first {n} {HOSTILE}", f"second {n} {'b' * 200}") for n in range(6)]


@pytest.fixture
def folder(pairs: list[RatedPair], tmp_path: Path) -> Path:
    """A folder that holds the pairs."""
    keep_pairs(pairs, tmp_path / "rated")
    return tmp_path / "rated"


Start = Callable[[], tuple[str, subprocess.Popen[str]]]


@pytest.fixture
def start(folder: Path) -> Generator[Start]:
    """`start()` serves the page of the folder by the command, and returns its address and its process."""
    started: list[subprocess.Popen[str]] = []

    def run() -> tuple[str, subprocess.Popen[str]]:
        command = [sys.executable, "-m", "preflab", "rate", "--output", str(folder), "--port", "0"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("Open http://127.0.0.1:"), line + process.stderr.read()
        return line.split()[1], process

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
