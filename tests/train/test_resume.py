"""Exact resume: whatever kills a run, and whenever, the same command ends with the same bits.

Every method is killed (SIGKILL, by itself, at a named point of `train/faults.py`) and started again in its directory.
Weights, metrics, samples and results are then compared byte by byte with those of a run that nothing disturbed.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import preflab
from preflab import methods as registry

from .conftest import EVERY_STEP, METHODS, NEVER, Forks, Undisturbed, arm, outcome, records

SOURCE = Path(preflab.__file__).parent
FAULT_POINTS = sorted(
    {point for path in SOURCE.rglob("*.py") for point in re.findall(r'pass_point\("(.+?)"\)', path.read_text())}
)
ROLLOUT = ("rollout.before", "rollout.after")
STEP = ("update.after", "metrics.written", "validation")
CHECKPOINT = ("checkpoint.writing", "checkpoint.before-rename", "checkpoint.after-rename")
MEASURED = ("evaluation",)
END = ("final.before-rename", "result.before")
PASSED = {
    "sft": (*STEP, *CHECKPOINT, *MEASURED, *END),
    "rm": (*STEP, *CHECKPOINT, *END),
    "cost": (*STEP, *CHECKPOINT, *END),
    "dpo": (*STEP, *CHECKPOINT, *MEASURED, *END),
    "dpo-iter": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "ppo": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "ppo-lag": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "pairs": (*ROLLOUT, *END),
    "best-of-n": (*MEASURED, *END),
    "grpo": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "rloo": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "reinforce++": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "remax": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "raft": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "expert-iteration": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "online-dpo": (*ROLLOUT, *STEP, *CHECKPOINT, *MEASURED, *END),
    "kto": (*STEP, *CHECKPOINT, *MEASURED, *END),
    "rrhf": (*STEP, *CHECKPOINT, *MEASURED, *END),
    "pro": (*STEP, *CHECKPOINT, *MEASURED, *END),
    "rankings": (*ROLLOUT, *END),
    "warm": (*STEP, *CHECKPOINT, *END),
}
# By default SFT and PPO are killed everywhere, and the others where their own state is at stake; `test_full_matrix` kills
# every one everywhere.
FEW = {
    "rm": ("update.after", "checkpoint.after-rename", "result.before"),
    "dpo": ("metrics.written", "checkpoint.after-rename", "evaluation"),
    "dpo-iter": (
        "rollout.after",
        "update.after",
        "metrics.written",
        "checkpoint.before-rename",
        "checkpoint.after-rename",
        "final.before-rename",
    ),
    "pairs": ("rollout.after", "final.before-rename"),
    "best-of-n": ("evaluation",),
    "cost": ("metrics.written", "checkpoint.after-rename"),
    "ppo-lag": ("rollout.after", "update.after", "checkpoint.after-rename"),
    "grpo": ("rollout.after", "update.after", "checkpoint.after-rename"),
    "rloo": ("metrics.written",),
    "reinforce++": ("metrics.written",),
    "remax": ("rollout.after", "metrics.written"),
    "raft": ("rollout.after", "metrics.written"),
    "expert-iteration": ("rollout.after", "update.after", "checkpoint.after-rename"),
    "online-dpo": ("rollout.after", "metrics.written"),
    "kto": ("metrics.written",),
    "rrhf": ("metrics.written",),
    "pro": ("metrics.written",),
    "rankings": ("final.before-rename",),
    "warm": ("checkpoint.after-rename",),
}
OFTEN = {
    "dpo-iter": {*STEP[:2], *CHECKPOINT, *ROLLOUT},
    "expert-iteration": {*STEP[:2], *CHECKPOINT, *ROLLOUT},
    "pairs": set[str](),
    "rankings": set[str](),
    "warm": set[str](),
}  # passed more than once: the second counts
KILLS = [
    pytest.param(method, point if once else f"{point}:2", id=f"{method}-{point}")
    for method, points in (PASSED | FEW).items()
    for point in points
    for once in [point not in OFTEN.get(method, {*STEP, *CHECKPOINT, *ROLLOUT})]
]


def killed_and_resumed(forks: Forks, method: str, fault: str, directory: Path, keeping: dict[str, float]) -> bool:
    """Whether the run was killed at the point (it may end without passing it so often); either way it is then done."""
    code = forks.run(arm(method), directory, fault=fault, keeping=keeping)
    assert code in (0, -signal.SIGKILL), Path(f"{directory}.log").read_text()
    assert (directory / "result.json").exists() == (code == 0)
    assert forks.run(arm(method), directory, keeping=keeping) == 0, Path(f"{directory}.log").read_text()
    return code != 0


def test_every_point_is_passed_by_some_method() -> None:
    """No point of the source is passed by no method, and every method is killed at some."""
    assert {point for points in PASSED.values() for point in points} == set(FAULT_POINTS)
    assert set(PASSED) == set(METHODS) == set(registry.METHODS.known)
    assert all(set(points) <= set(PASSED[method]) for method, points in FEW.items())


@pytest.mark.parametrize(("method", "fault"), KILLS)
def test_killed_run_ends_as_an_undisturbed_one(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, method: str, fault: str
) -> None:
    """One kill in the middle of the run, with a checkpoint after every step."""
    directory = tmp_path / method
    assert killed_and_resumed(forks, method, fault, directory, EVERY_STEP), f"{fault} is never passed"
    assert outcome(directory) == undisturbed(method)
    assert not (directory / "checkpoints").exists()


@pytest.mark.parametrize(("method", "length"), [("sft", {"epochs": 6}), ("ppo", {"steps": 12, "critic_warmup": 2})])
def test_a_run_that_ends_at_a_plateau_is_resumed(
    forks: Forks, tmp_path: Path, method: str, length: dict[str, int]
) -> None:
    """The count of evaluations without improvement and the beginning of the cooldown survive a kill, before and after it
    has begun: the resumed run ends after the same step, with the same bits."""
    spec = arm(method, plateau={"patience": 1}, looks=12)
    spec["method"] = {**spec["method"], **length}
    assert forks.run(spec, tmp_path / "whole") == 0, Path(f"{tmp_path / 'whole'}.log").read_text()
    steps = len(records(tmp_path / "whole" / "metrics.jsonl"))
    for number in sorted({2, 3, steps}):
        directory = tmp_path / f"{number}"
        assert forks.run(spec, directory, fault=f"update.after:{number}", keeping=EVERY_STEP) == -signal.SIGKILL
        assert forks.run(spec, directory, keeping=EVERY_STEP) == 0
        assert outcome(directory) == outcome(tmp_path / "whole")


@pytest.mark.parametrize("method", ["dpo", "dpo-iter", "ppo", "expert-iteration"])
def test_checkpoint_interval_changes_nothing(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, method: str
) -> None:
    """With a checkpoint after every step, and with none (a run killed after its second step then begins anew)."""
    directory = tmp_path / "every-step"
    assert forks.run(arm(method), directory, keeping=EVERY_STEP) == 0
    assert outcome(directory) == undisturbed(method)
    assert killed_and_resumed(forks, method, "update.after:2", tmp_path / "none", NEVER)
    assert outcome(tmp_path / "none") == undisturbed(method)


def test_killed_again_and_again(forks: Forks, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """PPO killed once in every start, at a different point each time, until it is through."""
    directory = tmp_path / "ppo"
    faults = (
        "checkpoint.before-rename",
        "rollout.after",
        "update.after",
        "metrics.written",
        "validation",
        "evaluation",
    )
    for fault in faults:
        assert forks.run(arm("ppo"), directory, fault=fault) == -signal.SIGKILL
    assert forks.run(arm("ppo"), directory) == 0
    assert outcome(directory) == undisturbed("ppo")


@pytest.mark.parametrize("method", ["ppo", "dpo-iter"])
def test_resume_under_lora(forks: Forks, tmp_path: Path, method: str) -> None:
    """Adapters, their optimizer, and the averaged reference go on exactly; the frozen base is made again."""
    spec = arm(method)
    spec["model"] = {**spec["model"], "lora": {"rank": 2}}
    assert forks.run(spec, tmp_path / "whole", keeping=NEVER) == 0, Path(f"{tmp_path / 'whole'}.log").read_text()
    assert forks.run(spec, tmp_path / "killed", fault="metrics.written:2") == -signal.SIGKILL
    assert forks.run(spec, tmp_path / "killed") == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("unit", ["compute", "labels"])
def test_resume_under_a_budget(forks: Forks, tmp_path: Path, unit: str) -> None:
    """The meter goes on with the run, so that the budget ends it at the same step: after two of PPO's three."""
    assert forks.run(arm("ppo"), tmp_path / "free", keeping=NEVER) == 0
    amount = 16 if unit == "labels" else 6e7
    spec = arm("ppo", budget={"unit": unit, "amount": amount, "charged": 0.0 if unit == "labels" else 1e6})
    assert forks.run(spec, tmp_path / "whole", keeping=NEVER) == 0
    assert len((tmp_path / "whole/metrics.jsonl").read_text().splitlines()) > 0
    assert forks.run(spec, tmp_path / "killed", fault="update.after:2") == -signal.SIGKILL
    assert forks.run(spec, tmp_path / "killed") == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("method", ["grpo", "remax"])
def test_resume_with_a_reward_that_answers_anew(forks: Forks, tmp_path: Path, method: str) -> None:
    """Several draws of a step (replaced groups, greedy answers) under a reward that no seed repeats: each is written down
    under a name of its own before it is used. A run that starts anew with the journal of one that was killed and resumed
    comes to the same bits."""
    spec = arm(method, reward={"kind": "function", "target": "scoring:dice", "deterministic": False})
    assert forks.run(spec, tmp_path / "killed", fault="metrics.written:2") == -signal.SIGKILL
    assert forks.run(spec, tmp_path / "killed") == 0
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "killed/journal", again / "journal")
    shutil.copy(tmp_path / "killed/manifest.json", again)
    assert forks.run(spec, again, keeping=NEVER) == 0
    assert outcome(again) == outcome(tmp_path / "killed")


@pytest.mark.parametrize(("method", "amount"), [("grpo", 19), ("remax", 24), ("expert-iteration", 40)])
def test_resume_under_a_labels_budget(forks: Forks, tmp_path: Path, method: str, amount: int) -> None:
    """Groups of answers, replaced groups and greedy answers are counted on after a resume: never more labels than there
    are, and the same end."""
    spec = arm(method, budget={"unit": "labels", "amount": amount})
    assert forks.run(spec, tmp_path / "whole", keeping=NEVER) == 0, Path(f"{tmp_path / 'whole'}.log").read_text()
    assert forks.run(spec, tmp_path / "killed", fault="update.after:2") == -signal.SIGKILL
    assert forks.run(spec, tmp_path / "killed") == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert records(tmp_path / "whole/metrics.jsonl")[-1]["labels"] <= amount


@pytest.mark.slow
@pytest.mark.parametrize("keeping", [EVERY_STEP, NEVER], ids=["every-step", "no-checkpoint"])
@pytest.mark.parametrize("point", FAULT_POINTS)
@pytest.mark.parametrize("method", METHODS)
def test_full_matrix(
    forks: Forks, undisturbed: Undisturbed, tmp_path: Path, method: str, point: str, keeping: dict[str, float]
) -> None:
    """Every method at every passing of every point, with and without checkpoints."""
    kills = 0
    while killed_and_resumed(forks, method, f"{point}:{kills + 1}", tmp_path / str(kills), keeping):
        assert outcome(tmp_path / str(kills)) == undisturbed(method)
        kills += 1
    reached = point in PASSED[method] and (keeping is EVERY_STEP or point not in CHECKPOINT)
    assert bool(kills) == reached
    print(f"{method} {point}: {kills} kills")


def test_the_real_command_killed_from_outside(forks: Forks, tmp_path: Path) -> None:
    """`preflab train` as a user starts it, killed by another process as soon as it shows a step, then started again.

    It ends with the bits of an undisturbed run in the forking process: what is tested here is what users run.
    """
    spec = arm("ppo")
    spec["method"] = {**spec["method"], "steps": 8}
    assert forks.run(spec, tmp_path / "whole", keeping=NEVER) == 0
    directory = tmp_path / "killed"
    run_file = tmp_path / "whole.json"
    command = [sys.executable, "-m", "preflab", "train", "--run", str(run_file), "--output", str(directory), "-q"]
    process = subprocess.Popen(command, cwd=Path(__file__).parent)
    shown = [directory / name for name in ("metrics.jsonl", "timing.jsonl")]  # in the order in which a step writes them
    deadline = time.monotonic() + 120
    while not all(file.exists() and file.stat().st_size for file in shown) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (directory / "result.json").exists()
    subprocess.run(command, cwd=Path(__file__).parent, check=True, timeout=120)
    assert outcome(directory) == outcome(tmp_path / "whole")
    assert records(directory / "timing.jsonl")[0]["pid"] == process.pid
