"""What a run shows of its progress: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.execute import execute
from preflab.arm.spec import Arm
from preflab.endings import Stopped
from preflab.spec import parse_spec
from preflab.train import progress
from preflab.train.loop import open_run
from preflab.train.record import RunRecord
from preflab.train.settings import Keeping
from preflab.work import report_work

from .conftest import arm


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ({}, ["answers drawn", "programs judged"]),
        ({"evaluator": None, "looks": 1}, ["answers read by a model", "answers drawn"]),
    ],
)
def test_a_measurement_in_a_pipe_goes_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    does: list[str],
) -> None:
    """Protects from minutes of silence while a policy is measured: each part of the work has lines up to its end."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    execute(parse_spec(Arm, arm("sft", **changes), where=""), tmp_path / "run", keeping=Keeping())
    said = capsys.readouterr().err.splitlines()
    for what in does:
        assert f"small: 100%  {what}" in said
    drawn = [line for line in said if "answers drawn" in line]
    assert len(drawn) > 2 and int(drawn[0].split()[1].rstrip("%")) < 100


def test_lines_keep_their_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a log from a line for each token: after a line there is none for `LINE_SECONDS`; none for a quiet run."""
    for enabled, seconds, lines in ((True, 0.0, 3), (True, 60.0, 0), (False, 0.0, 0)):
        monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
        record = RunRecord(tmp_path, Keeping(progress=enabled), "sft")
        with record.following_work():
            for share in (0.1, 0.5, 1.0):
                report_work("answers drawn", share)
        record.close()
        said = capsys.readouterr().err.splitlines()
        assert said == [f"sft: {share:4.0%}  answers drawn" for share in (0.1, 0.5, 1.0)][:lines]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_no_bar_stays_on_the_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException] | None,
) -> None:
    """Protects the terminal after a measurement, also one that failed or was stopped: the bar's line is erased, and the
    cursor is shown again."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    record = RunRecord(tmp_path, Keeping(), "sft")

    def measure() -> None:
        with record.following_work():
            report_work("answers drawn", 0.5)
            if error is not None:
                raise error

    if error is None:
        measure()
    else:
        with pytest.raises(error):
            measure()
    said = capsys.readouterr().err
    record.close()
    assert "answers drawn" in said and said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1
    assert said.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_a_second_signal_leaves_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the terminal from a second Ctrl-C in a long step: it killed the process, and left the bar and no cursor."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(Stopped), open_run(tmp_path, {"spec": {}}, seed=0) as run:  # noqa: PT012  (the signals belong together)
        run.stepping = True
        run.record.write_step(1, progress=0.5, seconds=1.0, counts=run.meter.state_dict())
        signal.raise_signal(signal.SIGINT)
        assert run.stop_signal == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    said = capsys.readouterr().err
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1
