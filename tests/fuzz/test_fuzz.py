"""Thirteen thousand mutated inputs: no traceback, no hang, and exit code 2 names the file and the key or the line.

Each input is used in a process of its own, forked from this one. An error that preflab did not expect ends it with code 70,
as on the command line, so none is hidden. An input is drawn from its kind and its number alone: `PREFLAB_FUZZ=run:17`
repeats one and prints what it says.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from preflab.endings import DEFECT, report_error
from preflab.terminal import guarded

from .subjects import SUBJECTS

torch.set_num_threads(1)  # a fork would wait for OpenMP's other threads for ever
INPUTS = {
    "run": 2000,
    "study": 2000,
    "theory": 1000,
    "jsonl": 2000,
    "reward": 1000,
    "judge": 1000,
    "results": 1000,
    "declared": 2000,
    "archive": 1000,
    "export": 500,
}
SECONDS = 60
"""After which an input hangs: ten times what the slowest needs."""
PLACE = re.compile(r"`[^`]*`|:\d+\b|\blines? \d+|column \d+|--\w+|'[^']+'|https?://\S")
"""A key, a line, an option, a name or an address."""
PLACELESS = ("empty", "Compressed file", "valid dictionary", "as an archive of runs:", "no run has finished")
"""Words about a fault of a whole file or directory."""


class End(NamedTuple):
    """How a process ended: its exit code (a signal is negative, a hang None), and what it printed."""

    code: int | None
    text: str


def use_input(kind: str, number: int, folder: Path) -> End:
    """Writes the input and uses it in a fork."""
    folder.mkdir()
    path = SUBJECTS[kind].write(folder, random.Random(f"{kind}:{number}"))
    log = folder / "log"
    child = os.fork()
    if child == 0:
        _become(kind, path, log)
    deadline = time.monotonic() + SECONDS
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return End(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return End(None, log.read_text(errors="replace"))
        time.sleep(0.001)


def _become(kind: str, path: Path, log: Path) -> None:
    """What the child does; it never returns."""
    code = DEFECT
    try:
        os.chdir(path.parent)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        with guarded():
            try:
                code = SUBJECTS[kind].use(path)
            except (Exception, KeyboardInterrupt) as error:
                code = report_error(error)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def find_fault(end: End, folder: Path) -> str:
    """What is wrong with how an input ended; '' where nothing is."""
    if end.code is None:
        return "hangs"
    if end.code not in (0, 1, 2, 130):
        return f"ends with {end.code}"
    if "Traceback" in end.text or "\x1b" in end.text:
        return "prints a traceback or an escape sequence"
    if end.code == 2 and not any(word in end.text for word in (str(folder), "reward", "split is empty")):
        return "does not name the file"
    placeless = any(word in end.text for word in PLACELESS)
    if end.code == 2 and not placeless and not PLACE.search(end.text.replace(str(folder), "")):
        return "names neither a key nor a line"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", SUBJECTS)
def test_mutated_inputs(kind: str, tmp_path: Path) -> None:
    """No input of a kind ends in a traceback, by a signal or not at all."""
    wanted, _, only = os.environ.get("PREFLAB_FUZZ", "").partition(":")
    if wanted and wanted != kind:
        pytest.skip(f"PREFLAB_FUZZ asks for {wanted}")
    faults: list[str] = []
    for number in [int(only)] if only else range(INPUTS[kind]):
        folder = tmp_path / f"{number}"
        end = use_input(kind, number, folder)
        if only:
            print(end.text)
        if fault := find_fault(end, folder):
            faults.append(f"{kind}:{number} {fault}: {end.text[-400:]}")
    assert not faults, f"{len(faults)} inputs:\n" + "\n".join(faults)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_the_first_mutated_inputs(kind: str, tmp_path: Path) -> None:
    """Ten of each kind, in the default suite."""
    ends = [(use_input(kind, number, tmp_path / f"{number}"), tmp_path / f"{number}") for number in range(10)]
    assert not [(end, fault) for end, folder in ends if (fault := find_fault(end, folder))]


def test_a_defect_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expected, and a hang, count: what all of them stand on."""

    def fail(path: Path) -> int:
        raise RecursionError

    def hang(path: Path) -> int:
        time.sleep(600)
        return 0

    monkeypatch.setitem(SUBJECTS, "run", SUBJECTS["run"]._replace(use=fail))
    end = use_input("run", 0, tmp_path / "fail")
    assert end.code == DEFECT and find_fault(end, tmp_path)
    monkeypatch.setitem(SUBJECTS, "run", SUBJECTS["run"]._replace(use=hang))
    monkeypatch.setattr("tests.fuzz.test_fuzz.SECONDS" if "tests" in __name__ else f"{__name__}.SECONDS", 0.2)
    assert find_fault(use_input("run", 0, tmp_path / "hang"), tmp_path) == "hangs"
