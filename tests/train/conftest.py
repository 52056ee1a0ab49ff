"""Small runs in forks of one preloaded process, killed where a test says, and what must be equal afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
EVERY_STEP = {"checkpoint_seconds": 0.0}
NEVER = {"checkpoint_seconds": 1e9}

SMALL: dict[str, Any] = {
    "name": "small",
    "device": "cpu",
    "testbed": {"kind": "minicode", "train": 24, "validation": 5, "test": 5},
    "model": {"name": "tiny", "tiny": {"width": 16, "inner": 16, "layers": 1, "heads": 2}},
    "evaluator": "hidden-tests",
    "evaluation": {
        "samples": 2,
        "k": [1],
        "temperatures": [0.6, 1.0],
        "validation_samples": 1,
        "max_new_tokens": 5,
        "look_prompts": 3,
        "look_samples": 1,
        "kl_samples": 4,
    },
    "looks": 2,
}
LENGTH = {"kind": "function", "target": "scoring:length"}
FAST = {"learning_rate": 3e-3}
DRAW = {"samples": 2, "rule": "best-worst", "decoding": {"max_new_tokens": 5}}
PPO = {
    "kind": "ppo",
    "steps": 3,
    "rollouts": 8,
    "mini_batches": 2,
    "reference_ema": 0.3,
    "kl_target": 0.01,
    "kl_horizon": 20,
    "value_decay": 0.9,
    "decoding": {"max_new_tokens": 5, "top_k": 20},
    "optim": FAST,
    "critic_optim": FAST,
}
MEMBERS = ["stage:member-0", "stage:member-1"]  # the reward models that `warm` averages; see `Forks.members`
GROUPS = {
    "steps": 3,
    "rollouts": 8,
    "mini_batches": 2,
    "reference_ema": 0.3,
    "decoding": {"max_new_tokens": 5, "top_k": 20},
    "optim": FAST,
}
EXPERT = {
    "kind": "expert-iteration",
    "prompts": 6,
    "samples": 4,
    "most": 2,
    "right": 8,
    "decoding": {"max_new_tokens": 5},
    "epochs": 2,
    "batch_size": 4,
    "optim": FAST,
}
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"method": {"kind": "sft", "epochs": 1, "batch_size": 8, "optim": FAST}},
    "rm": {"method": {"kind": "rm", "epochs": 1, "batch_size": 8, "optim": FAST}},
    "cost": {
        "testbed": {**SMALL["testbed"], "kind": "scoring:Judged"},
        "method": {"kind": "cost", "epochs": 1, "batch_size": 8, "optim": FAST},
    },
    "dpo": {"method": {"kind": "dpo", "epochs": 1, "batch_size": 8, "optim": FAST}},
    "dpo-iter": {
        "reward": LENGTH,
        "method": {"kind": "dpo-iter", "rounds": 2, "prompts": 12, "draw": DRAW, "batch_size": 6, "optim": FAST},
    },
    "ppo": {"reward": LENGTH, "method": PPO},
    "ppo-lag": {
        "reward": LENGTH,
        "cost": {"kind": "function", "target": "scoring:excess"},
        "method": {
            **{name: value for name, value in PPO.items() if not name.startswith("kl_")},
            "kind": "ppo-lag",
            "multiplier_rate": 0.5,
        },
    },
    "pairs": {"reward": LENGTH, "measure": "none", "method": {"kind": "pairs", "draw": DRAW}},
    "best-of-n": {"method": {"kind": "best-of-n", "n": 2}},
    "grpo": {
        "reward": LENGTH,
        "method": {"kind": "grpo", **GROUPS, "group": 2, "dynamic_sampling": True, "most_draws": 2},
    },
    "rloo": {"reward": LENGTH, "method": {"kind": "rloo", **GROUPS}},
    "reinforce++": {"reward": LENGTH, "method": {"kind": "reinforce++", **GROUPS}},
    "remax": {"reward": LENGTH, "method": {"kind": "remax", **GROUPS}},
    "raft": {
        "reward": LENGTH,
        "method": {"kind": "raft", "group": 4, **{key: GROUPS[key] for key in GROUPS if key != "reference_ema"}},
    },
    "expert-iteration": {"reward": LENGTH, "method": EXPERT},
    "kto": {"method": {"kind": "kto", "batch_size": 16, "optim": FAST}},
    "online-dpo": {
        "reward": LENGTH,
        "method": {
            "kind": "online-dpo",
            "steps": 3,
            "prompts": 6,
            "draw": DRAW,
            "batch_size": 4,
            "reference_ema": 0.3,
            "optim": FAST,
        },
    },
    "rrhf": {"method": {"kind": "rrhf", "epochs": 1, "batch_size": 8, "optim": FAST}},
    "pro": {"method": {"kind": "pro", "epochs": 1, "batch_size": 8, "optim": FAST}},
    "rankings": {
        "reward": LENGTH,
        "measure": "none",
        "method": {"kind": "rankings", "samples": 2, "decoding": {"max_new_tokens": 5}},
    },
    "warm": {"method": {"kind": "warm", "models": MEMBERS}},
}


def arm(method: str, **changes: Any) -> dict[str, Any]:
    """A small arm as plain data."""
    return {**SMALL, **METHODS[method], **changes}


def outcome(directory: Path) -> dict[str, bytes]:
    """Everything that two runs of one arm must have in common, byte by byte."""
    files = [directory / name for name in ("metrics.jsonl", "samples.jsonl", "result.json")]
    files += sorted(path for path in (directory / "final").rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Forks:
    """The preloaded process. A run's output goes to `DIRECTORY.log`. `place`: where what runs stand on is kept."""

    def __init__(self, place: Path) -> None:
        self.stages = place / "stages"
        command = [sys.executable, str(HERE / "forks.py")]
        self.process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._send({"arm": arm("best-of-n")})
        assert self._read() == "ready"

    def run(self, spec: Mapping[str, Any], directory: Path, *, fault: str = "", **how: Any) -> int:
        """Runs an arm to its end, or until it is killed at the fault point; returns its exit code (see `start`)."""
        self.start(spec, directory, fault=fault, **how)
        return self.wait()

    def start(
        self,
        spec: Mapping[str, Any],
        directory: Path,
        *,
        fault: str = "",
        keeping: Mapping[str, Any] = EVERY_STEP,
        fresh: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Starts an arm; returns its process id. `wait` is due before the next."""
        if spec["method"]["kind"] == "warm":
            self.members(directory.parent)
        run_file = Path(f"{directory}.json")
        run_file.write_text(json.dumps(spec))
        command = ["train", "--run", str(run_file), "--output", str(directory), "-q"]
        faults = {"PREFLAB_FAULT": fault} if fault else {}
        return self.command(
            [*command, "--fresh"] if fresh else command,
            log=Path(f"{directory}.log"),
            keeping=keeping,
            environment={**faults, **(environment or {})},
        )

    def members(self, place: Path) -> None:
        """Puts the stages of `MEMBERS` beside the runs of `place`; they are trained once."""
        if not self.stages.exists():
            self.stages.mkdir()
            for number, name in enumerate(MEMBERS):
                spec = arm("rm")
                spec["method"] = {**spec["method"], "member": number, "shared_head": True}
                assert self.run(spec, self.stages / name.removeprefix("stage:"), keeping=NEVER) == 0
        if not (place / "stages").exists():
            (place / "stages").symlink_to(self.stages)

    def command(
        self,
        command: Sequence[str],
        *,
        log: Path,
        keeping: Mapping[str, Any] = EVERY_STEP,
        environment: Mapping[str, str] | None = None,
        folder: Path = HERE,
    ) -> int:
        """Starts any `preflab` command in a folder; its output is appended to the log."""
        request = {"command": command, "log": str(log), "keeping": keeping, "environment": environment or {}}
        self._send({**request, "folder": str(folder)})
        return json.loads(self._read())["started"]

    def wait(self) -> int:
        return json.loads(self._read())["code"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, signal.SIGKILL)

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the forking process has died"
        return line


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("members"))
    yield forks
    forks.close()


class Undisturbed:
    """What each method's run comes to when nothing happens to it, run once and with no checkpoint."""

    def __init__(self, forks: Forks, place: Path) -> None:
        self.forks = forks
        self.place = place
        self.known: dict[str, dict[str, bytes]] = {}

    def __call__(self, method: str) -> dict[str, bytes]:
        if method not in self.known:
            directory = self.place / method
            assert self.forks.run(arm(method), directory, keeping=NEVER) == 0, directory.with_suffix(".log").read_text()
            self.known[method] = outcome(directory)
        return self.known[method]


@pytest.fixture(scope="session")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(forks, tmp_path_factory.mktemp("undisturbed"))
