"""What a study says of its running arms."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from preflab.arm.planned import PlannedRun
from preflab.study import watch
from preflab.study.launchers.base import LaunchedRun
from preflab.study.watch import Watch, progress


def task(directory: Path) -> PlannedRun:
    return PlannedRun(spec=cast("Any", SimpleNamespace(name="dpo", seed=3)), directory=directory, needs=())


def running(directory: Path) -> LaunchedRun:
    """A run that a launcher has started in its own directory."""
    return cast("LaunchedRun", SimpleNamespace(run=task(directory), directory=directory))


def write(directory: Path, step: int) -> None:
    record = {"step": step, "progress": 0.25 * step, "loss": 0.5}
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_verbose_says_each_step_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Protects `study -v`: a line when a running arm has a new step, and no line otherwise."""
    monkeypatch.setattr(watch, "_REFRESH_SECONDS", 0.0)
    display = Watch(1)
    write(tmp_path, 1)
    display.refresh([running(tmp_path)], 0)
    assert capsys.readouterr().err == ""
    with caplog.at_level(logging.DEBUG, logger="preflab"):
        for step in (2, 2, 3):
            if step == 3:
                write(tmp_path, 3)
            display.refresh([running(tmp_path)], 0)
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 2
    assert "step 1  dpo (seed 3)  25%  loss 0.5" in printed[0]
    assert "step 3  dpo (seed 3)  75%  loss 0.5" in printed[1]


def test_progress_of_what_is_half_written(tmp_path: Path) -> None:
    """Protects the display from a run that has written nothing, or half a line."""
    assert progress(tmp_path) == 0.0
    write(tmp_path, 2)
    assert progress(tmp_path) == 0.5
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3')
    assert progress(tmp_path) == 0.0


def test_a_pipe_has_no_progress(tmp_path: Path) -> None:
    """Protects the display from waiting for ever."""
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert progress(tmp_path) == 0.0
