"""Trackers are fed from the metrics: what people see in them is what the run wrote."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from preflab.errors import UserError
from preflab.train.ownership import EVENTS
from preflab.train.trackers import Trackers

from .conftest import Forks, arm, records


def scalars(directory: Path) -> dict[tuple[int, str], float]:
    """(step, name) -> value, as TensorBoard reads its own files; a name written twice at a step fails."""
    values: dict[tuple[int, str], float] = {}
    for event in EventFileLoader(str(directory / "tensorboard" / EVENTS)).Load():
        for value in event.summary.value:
            assert (event.step, value.tag) not in values
            values[event.step, value.tag] = float(make_ndarray(value.tensor))
    return values


def expected(directory: Path) -> dict[tuple[int, str], float]:
    """The metrics in TensorBoard's fp32."""
    rows = records(directory / "metrics.jsonl")
    return {
        (row["step"], name): float(np.float32(value)) for row in rows for name, value in row.items() if name != "step"
    }


def test_tensorboard_equals_the_metrics_after_a_kill(forks: Forks, tmp_path: Path) -> None:
    """Every number of every step once, though the second step was run twice."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, fault="metrics.written:2") == -signal.SIGKILL
    assert forks.run(arm("ppo"), directory) == 0
    assert len(list((directory / "tensorboard").iterdir())) == 1
    assert scalars(directory) == expected(directory)
    assert {step for step, _ in scalars(directory)} == {1, 2, 3}


def write(directory: Path, *steps: int) -> None:
    with (directory / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps)


def test_only_what_is_new_is_handed_on(tmp_path: Path) -> None:
    """A follow hands on the lines since the last one; a new process writes the event file again from the beginning."""
    write(tmp_path, 1, 2)
    trackers = Trackers(tmp_path, wandb=None, label="run")
    trackers.follow()
    assert scalars(tmp_path) == expected(tmp_path)
    write(tmp_path, 3)
    trackers.follow()
    trackers.follow()
    trackers.close()
    assert scalars(tmp_path) == expected(tmp_path)
    again = Trackers(tmp_path, wandb=None, label="run")
    write(tmp_path, 4)
    again.follow()
    again.close()
    assert scalars(tmp_path) == expected(tmp_path)
    assert {step for step, _ in scalars(tmp_path)} == {1, 2, 3, 4}


def test_a_run_without_steps_has_no_event_file(tmp_path: Path) -> None:
    """And does not import TensorBoard for it."""
    (tmp_path / "metrics.jsonl").touch()
    trackers = Trackers(tmp_path, wandb=None, label="run")
    trackers.follow()
    trackers.close()
    assert not (tmp_path / "tensorboard").exists()


def test_wandb_gets_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B (a stand-in here) gets the settings, then each step's numbers; a second process resumes the same W&B run."""
    calls: list[Any] = []
    stub = SimpleNamespace(
        log=lambda values, step: calls.append(("log", step, values)), finish=lambda: calls.append("finish")
    )

    def init(**options: Any) -> SimpleNamespace:
        calls.append(("init", options))
        return stub

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    (tmp_path / "manifest.json").write_text('{"spec": {"name": "x"}}')
    write(tmp_path, 1, 2)
    for _ in range(2):
        trackers = Trackers(tmp_path, wandb="alignment", label="ppo")
        trackers.follow()
        trackers.close()
    started = [call[1] for call in calls if call[0] == "init"]
    assert started[0] == started[1]
    assert started[0]["project"] == "alignment"
    assert started[0]["name"] == "ppo"
    assert started[0]["config"] == {"spec": {"name": "x"}}
    assert started[0]["resume"] == "allow"
    assert calls[1:4] == [("log", 1, {"loss": 1.0}), ("log", 2, {"loss": 0.5}), "finish"]


@pytest.mark.parametrize("content", ["{}", "[]", '{"id": 3}'])
def test_a_foreign_record_of_a_wandb_run_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """A `wandb.json` of another form is one line, and stays as it is. Before, it was a traceback."""
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    (tmp_path / "wandb.json").write_text(content)
    with pytest.raises(UserError, match=r"wandb\.json is damaged"):
        Trackers(tmp_path, wandb="alignment", label="ppo")
    assert (tmp_path / "wandb.json").read_text() == content


def test_wandb_absent_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how to get it."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"preflab\[wandb\]"):
        Trackers(tmp_path, wandb="alignment", label="ppo")


def test_wandb_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a study's arms, which are processes of their own, are tracked too."""
    from preflab.train.settings import Keeping

    assert Keeping().wandb is None
    monkeypatch.setenv("PREFLAB_WANDB", "alignment")
    assert Keeping().wandb == "alignment"
