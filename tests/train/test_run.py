"""What else may happen to a run: stopped, refused, answered at random, damaged, out of disk, diverged.

The runs are those of `test_resume.py`; exit codes and messages are the command line's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.conftest import require_feature

from preflab import cli
from preflab.arm import execute as executing
from preflab.errors import UserError
from preflab.sandbox.bubblewrap import explain_absence
from preflab.train.directory import differing_paths, locked, need_space
from preflab.types import VERDICT

from .conftest import EVERY_STEP, NEVER, Forks, Undisturbed, arm, outcome, records

DICE = {"kind": "function", "target": "scoring:dice", "deterministic": False}


def log(directory: Path) -> str:
    """What the command said, and what the run wrote into its own log."""
    own = directory / "run.log"
    return Path(f"{directory}.log").read_text() + (own.read_text() if own.exists() else "")


# -- stopped ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_asked_to_stop(forks: Forks, undisturbed: Undisturbed, tmp_path: Path, name: str, code: int) -> None:
    """While PPO samples its second step: the step is finished and kept, though no checkpoint was due; then it goes on."""
    directory = tmp_path / "ppo"
    environment = {"PREFLAB_TEST_STOP": f"{name}:2"}
    assert forks.run(arm("ppo"), directory, keeping=NEVER, environment=environment) == code, log(directory)
    assert [path.name for path in (directory / "checkpoints").iterdir()] == ["step-00000002"]
    assert "Traceback" not in log(directory)
    assert (
        Path(f"{directory}.log").read_text() == "preflab: stopped after step 2; repeat the same command to continue.\n"
    )
    assert forks.run(arm("ppo"), directory, keeping=NEVER) == 0
    assert outcome(directory) == undisturbed("ppo")
    assert "resumes after step 2" in log(directory)


def test_a_stopped_a_resumed_and_a_measured_run_say_so(forks: Forks, tmp_path: Path) -> None:
    """Whoever watches a run in a pipe reads how it was stopped, where it goes on, and what is measured: 5 validation problems
    once at each of two temperatures, then 5 test problems twice. Before, all three were silent for minutes."""
    directory = tmp_path / "ppo"
    run_file = tmp_path / "ppo.json"
    run_file.write_text(json.dumps(arm("ppo")))
    command = ["train", "--run", str(run_file), "--output", str(directory)]
    forks.command(command, log=tmp_path / "stopped.log", environment={"PREFLAB_TEST_STOP": "SIGINT:2"})
    assert forks.wait() == 130
    assert (
        "preflab: stopped after step 2; repeat the same command to continue." in (tmp_path / "stopped.log").read_text()
    )
    forks.command(command, log=tmp_path / "resumed.log")
    assert forks.wait() == 0
    lines = (tmp_path / "resumed.log").read_text().splitlines()
    assert "small: resumes after step 2" in lines
    measured = [line for line in lines if "measures" in line]
    assert measured[:2] == [
        f"small: measures 5 answers to the validation prompts at temperature {temperature}" for temperature in (0.6, 1)
    ]
    assert measured[2] == "small: measures 10 answers to the test prompts at temperature 1"


def test_asked_to_stop_where_there_are_no_steps(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """What is not a step (here: drawing pairs) can be done again, and is left at once."""
    directory = tmp_path / "pairs"
    assert forks.run(arm("pairs"), directory, environment={"PREFLAB_TEST_STOP": "SIGTERM:1"}) == 143
    assert not (directory / "result.json").exists()
    assert forks.run(arm("pairs"), directory) == 0
    assert outcome(directory) == undisturbed("pairs")


# -- whose directory ----------------------------------------------------------------------------------------------------


def test_done_is_done_and_fresh_is_fresh(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The same command does not run again; `--fresh` does, with the same result; the user's own files are left alone."""
    directory = tmp_path / "sft"
    directory.mkdir()
    (directory / "notes.txt").write_text("mine")
    for fresh, lines in ((False, 1), (False, 1), (True, 1)):
        assert forks.run(arm("sft"), directory, fresh=fresh) == 0, log(directory)
        ends = [row for row in records(directory / "timing.jsonl") if "wall_seconds" in row]
        assert len(ends) == lines
    assert outcome(directory) == undisturbed("sft")
    assert (directory / "notes.txt").read_text() == "mine"


def test_checkpoints_left_by_a_kill_at_the_very_end_go(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The result is written before the optimizer's state goes; a kill in between must not leave gigabytes for good."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory) == 0
    (directory / "checkpoints/step-00000001").mkdir(parents=True)
    assert forks.run(arm("sft"), directory) == 0
    assert not (directory / "checkpoints").exists()
    assert outcome(directory) == undisturbed("sft")


def test_another_runs_directory_is_refused(forks: Forks, tmp_path: Path) -> None:
    """With exit code 2 and the settings that differ, by their dotted names; nothing of the other run is touched."""
    directory = tmp_path / "run"
    assert forks.run(arm("sft"), directory) == 0
    before = outcome(directory)
    changed = arm("sft", seed=7)
    changed["method"] = {**changed["method"], "optim": {"learning_rate": 1e-4}}
    assert forks.run(changed, directory) == 2
    assert "holds another run (it differs in method.optim.learning_rate, seed)" in log(directory)
    assert outcome(directory) == before


def test_second_writer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A directory that is being written is the user's mistake, said in one line with exit code 2."""
    monkeypatch.setattr("preflab.train.loop.locked", partial(locked, patience=0.0))
    directory = tmp_path / "run"
    directory.mkdir()
    with locked(directory), pytest.raises(SystemExit) as stopped:
        cli.main(["train", "sft", "--output", str(directory), "-q"])
    assert stopped.value.code == 2
    assert (
        capsys.readouterr().err == f"preflab: Another process writes in {directory}. Wait until it ends, or stop it.\n"
    )


def test_differences_are_named_by_path() -> None:
    """A field that is missing on one side differs; equal trees do not."""
    assert differing_paths({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 1, "c": 3}}) == ["a.c", "d"]
    assert differing_paths({"a": [1]}, {"a": [1]}) == []
    methods = {"method": {"kind": "ppo", "rollouts": 8}}, {"method": {"kind": "dpo", "beta": 0.1}}
    assert differing_paths(*methods) == ["method.kind"]


# -- what no seed can repeat --------------------------------------------------------------------------------------------


def test_random_scores_are_journalled_before_use(forks: Forks, tmp_path: Path) -> None:
    """PPO on a reward that is never the same twice, killed after its second answers: they are used, not asked again.

    What was journalled is what the metrics show; labels are counted once (8 a step); and a run that starts anew with
    that journal comes to the same bits.
    """
    spec = arm("ppo", reward=DICE)
    directory = tmp_path / "ppo"
    assert forks.run(spec, directory, fault="rollout.after:2", keeping=NEVER) == -signal.SIGKILL
    kept = {path.name: path.read_bytes() for path in (directory / "journal").iterdir()}
    assert sorted(kept) == ["scores-rollout-0.json", "scores-rollout-1.json"]
    assert forks.run(spec, directory, keeping=NEVER) == 0, log(directory)
    assert {name: (directory / "journal" / name).read_bytes() for name in kept} == kept
    rows = records(directory / "metrics.jsonl")
    assert [row["labels"] for row in rows] == [8, 16, 24]
    for step, row in enumerate(rows):
        scores = json.loads((directory / f"journal/scores-rollout-{step}.json").read_text())["value"]
        assert row["reward"] == pytest.approx(sum(scores) / 8, rel=1e-6)
    again = tmp_path / "again"
    shutil.copytree(directory / "journal", again / "journal")
    shutil.copy(directory / "manifest.json", again)
    assert forks.run(spec, again) == 0
    assert outcome(again) == outcome(directory)


def test_verdicts_of_the_sandbox_are_journalled(forks: Forks, tmp_path: Path) -> None:
    """PPO rewarded by real programs, killed after its second rollout is judged: the verdicts are used, not formed again, and
    the metrics hold the share of each, as in a run that nobody killed."""
    require_feature("sandbox", not explain_absence(), explain_absence())
    python = {"kind": "minicode-py", "train": 40, "validation": 10, "test": 8}
    spec = arm("ppo", testbed=python, reward={"kind": "tests"})
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    assert forks.run(spec, calm) == 0, log(calm)
    assert forks.run(spec, rough, fault="rollout.after:2", keeping=NEVER) == -signal.SIGKILL
    assert forks.run(spec, rough, keeping=NEVER) == 0, log(rough)
    assert outcome(rough) == outcome(calm)
    for step, row in enumerate(records(rough / "metrics.jsonl")):
        shares = {name: value for name, value in row.items() if name.startswith(VERDICT)}
        assert sum(shares.values()) == pytest.approx(1.0)
        verdicts = json.loads((rough / f"journal/scores-rollout-{step}.json").read_text())["verdicts"]
        assert shares == {f"{VERDICT}{name}": count / 8 for name, count in verdicts.items()}


def test_journal_within_a_journal(forks: Forks, tmp_path: Path) -> None:
    """DPO-Iter journals a round's pairs, made of journalled scores. Killed between the two, and in the round's updates,
    it pairs by the same scores, counts the same labels (24 a round), and keeps the same samples."""
    spec = arm("dpo-iter", reward=DICE)
    directory = tmp_path / "dpo-iter"
    assert forks.run(spec, directory, fault="rollout.after:2") == -signal.SIGKILL
    assert (directory / "journal/scores-round-0001.json").exists()
    assert not (directory / "journal/round-0001.json").exists()
    assert forks.run(spec, directory, fault="update.after:1") == -signal.SIGKILL
    assert forks.run(spec, directory) == 0, log(directory)
    rows = records(directory / "metrics.jsonl")
    assert {row["round"]: row["labels"] for row in rows} == {0: 24, 1: 48}
    again = tmp_path / "again"
    shutil.copytree(directory / "journal", again / "journal")
    shutil.copy(directory / "manifest.json", again)
    assert forks.run(spec, again, keeping=NEVER) == 0
    assert outcome(again) == outcome(directory)


# -- damaged ------------------------------------------------------------------------------------------------------------


def test_damaged_checkpoint_is_named_and_the_one_before_used(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """One flipped byte in the newest checkpoint's moments."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, fault="update.after:3") == -signal.SIGKILL
    flip(directory / "checkpoints/step-00000002/tensors.safetensors")
    assert forks.run(arm("ppo"), directory) == 0
    assert "checkpoint step-00000002 is damaged" in log(directory)
    assert "resumes after step 1" in log(directory)
    assert outcome(directory) == undisturbed("ppo")


def test_no_intact_checkpoint(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Then the run does not begin again behind the user's back: it is refused with what to do, which works."""
    directory = tmp_path / "sft"
    assert forks.run(arm("sft"), directory, fault="update.after:3") == -signal.SIGKILL
    for path in (directory / "checkpoints").iterdir():
        flip(path / "tensors.safetensors")
    assert forks.run(arm("sft"), directory) == 2
    assert "is intact. Start again with --fresh." in log(directory)
    assert forks.run(arm("sft"), directory, fresh=True) == 0
    assert outcome(directory) == undisturbed("sft")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("keeping", [EVERY_STEP, NEVER], ids=["every-step", "no-checkpoint"])
def test_half_a_line_does_not_hurt(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, keeping: dict[str, float]
) -> None:
    """A crash in the middle of a write leaves half a line, in the metrics, the samples and the clocks."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, fault="update.after:2", keeping=keeping) == -signal.SIGKILL
    for name in ("metrics.jsonl", "samples.jsonl", "timing.jsonl"):
        with (directory / name).open("ab") as file:
            file.write(b'{"step": 2, "pro')
    assert forks.run(arm("ppo"), directory, keeping=keeping) == 0, log(directory)
    assert outcome(directory) == undisturbed("ppo")
    steps = [row["step"] for row in records(directory / "timing.jsonl") if "step" in row]
    assert steps == ([1, 2, 3] if keeping is EVERY_STEP else [1, 1, 2, 3])


# -- disk and memory ----------------------------------------------------------------------------------------------------


def test_disk_need_is_refused_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 40 KB free a run that keeps two checkpoints of a 13,000-parameter model does not begin; what it holds counts.

    Each checkpoint has weights and two moments: 3 x 4 bytes a parameter, and one is written before the oldest goes.
    """
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=40_000))
    run_file = tmp_path / "run.json"
    run_file.write_text(json.dumps(arm("sft")))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--run", str(run_file), "--output", str(tmp_path / "sft"), "-q"])
    assert stopped.value.code == 2
    assert "GiB are free. Make room, or choose another --output." in capsys.readouterr().err
    assert not (tmp_path / "sft/metrics.jsonl").exists()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/held").write_bytes(b"0" * 1000)
    need_space(tmp_path, 41_000)
    with pytest.raises(UserError, match="needs about"):
        need_space(tmp_path, 41_001)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A run directory that is a disk of 3 MB."""
    place = tmp_path / "ppo"
    place.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if not mounted or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small disk (root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_disk_full(forks: Forks, undisturbed: Undisturbed, small_disk: Path) -> None:
    """Somebody else fills the disk in PPO's third step: one message, exit code 2, and the last checkpoint stands."""
    directory, filler = small_disk, small_disk / "filler"
    assert forks.run(arm("ppo"), directory, environment={"PREFLAB_TEST_FILL": f"{filler}:3"}) == 2
    filler.unlink()
    lines = Path(f"{directory}.log").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("preflab: the disk is full (")
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {"step-00000001", "step-00000002"}
    assert forks.run(arm("ppo"), directory) == 0, log(directory)
    assert outcome(directory) == undisturbed("ppo")


def test_a_disk_that_fails(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """From PPO's third step on, every `fsync` fails, as on a broken disk. This error names no file, so one line names
    the run's directory. The same command then continues from the checkpoint of the second step."""
    directory = tmp_path / "ppo"
    assert forks.run(arm("ppo"), directory, environment={"PREFLAB_TEST_BREAK": "3"}) == 2, log(directory)
    told = f"preflab: Input/output error ({directory}). Correct this and repeat the command; a run continues from its"
    assert Path(f"{directory}.log").read_text() == f"{told} last checkpoint.\n"
    assert forks.run(arm("ppo"), directory) == 0, log(directory)
    assert outcome(directory) == undisturbed("ppo")
    assert "resumes after step 2" in log(directory)


def test_out_of_memory_has_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch's own error for 2^50 bytes that nobody has: the advice names the setting, without a traceback."""
    monkeypatch.setattr(executing, "execute", lambda *rest, **more: torch.empty(2**50, dtype=torch.uint8))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "sft", "--output", str(tmp_path / "sft")])
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("preflab: out of memory.")
    assert "token_budget" in message


# -- diverged -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "more"), [("sft", {}), ("ppo", {}), ("ppo", {"mini_batches": 1})])
def test_divergence_is_a_result(forks: Forks, tmp_path: Path, method: str, more: dict[str, int]) -> None:
    """A learning rate of 1e30: the run ends in order with what happened, as a study counts it.

    With one mini-batch PPO meets the broken weights first where it samples from them.
    """
    directory = tmp_path / method
    spec = arm(method)
    spec["method"] = {**spec["method"], **more, "optim": {"learning_rate": 1e30, "warmup": 0.0}}
    assert forks.run(spec, directory) == 0, log(directory)
    result = json.loads((directory / "result.json").read_text())
    assert result["diverged"]
    assert "evaluation" not in result
    assert not (directory / "final").exists()


def test_divergence_fails_the_command(forks: Forks, tmp_path: Path) -> None:
    """`preflab train` by hand says so in one line and exits with 1."""
    directory = tmp_path / "sft"
    settings = ["--optim.learning-rate", "1e30", "--optim.warmup", "0", "--batch-size", "4", "--testbed.train", "200"]
    command = ["train", "sft", "--output", str(directory), "--no-evaluate", "-q", "--device", "cpu", *settings]
    forks.command(command, log=Path(f"{directory}.log"))
    assert forks.wait() == 1
    lines = Path(f"{directory}.log").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("sft diverged: The ")
    assert "Lower the learning rate" in lines[0]
