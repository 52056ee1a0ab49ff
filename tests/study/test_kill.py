"""A real study with real arms, killed from outside: like `test_runner.py`, but without stubs. It takes half a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from preflab.arm.process import THREAD_VARIABLES
from preflab.study.load import PRESETS


class Place:
    """A directory in which the command is always the same, whose results can therefore be compared with another's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        study: dict[str, Any] = yaml.safe_load((PRESETS / "smoke.yaml").read_text())
        study["arms"]["ppo"]["method"]["steps"] = 8  # long enough to be met at work
        study["testbed"] = {"kind": "minicode", "train": 40, "validation": 4, "test": 4}
        study["evaluation"] |= {"samples": 2, "look_prompts": 2, "kl_samples": 4}
        (directory / "study.yaml").write_text(yaml.safe_dump(study))

    @property
    def study(self) -> Path:
        return self.directory / "runs/smoke"

    def start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "preflab",
            "study",
            "study.yaml",
            "--output",
            "runs/smoke",
            "--seeds",
            "1",
            "-q",
        ]
        log = self.directory / "output"
        environment = {
            name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES
        }  # as a user starts it
        with log.open("ab") as file:
            return subprocess.Popen(command, cwd=self.directory, stdout=file, stderr=file, env=environment)

    def at_work(self, arm: str, study: subprocess.Popen[bytes]) -> psutil.Process:
        """The process of an arm, once it has trained a step of its own."""
        timing = self.study / f"seed-0/{arm}/timing.jsonl"

        def find_arm() -> psutil.Process | None:
            for child in psutil.Process(study.pid).children():
                lines = timing.read_text().splitlines() if timing.exists() else []
                if any(json.loads(line).get("pid") == child.pid for line in lines):
                    return child
            return None

        return wait_for(find_arm)

    def results(self) -> dict[str, Any]:
        """Without the clocks, which no two runs share."""
        return {
            key: value
            for key, value in json.loads((self.study / "results.json").read_text()).items()
            if key != "timing"
        }


def wait_for(look: Callable[[], psutil.Process | None]) -> psutil.Process:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        value = look()
        if value is not None:
            return value
        time.sleep(0.01)
    raise AssertionError("nothing happened in 300 s")


def test_study_survives_every_death(tmp_path: Path) -> None:
    """An arm killed as the kernel does when memory runs out; then the study killed *alone* and started again at once.

    The first leaves the other arms running, a report that says so, and exit code 1. The second leaves no second writer,
    and after all of it the results are those of an undisturbed study.
    """
    calm, rough = Place(tmp_path / "calm"), Place(tmp_path / "rough")
    assert calm.start().wait(timeout=600) == 0

    study = rough.start()
    rough.at_work("ppo", study).kill()
    assert study.wait(timeout=600) == 1
    report = (rough.study / "report.html").read_text()
    assert "was killed, most likely for memory" in report
    assert (rough.study / "seed-0/dpo/result.json").exists()
    assert {arm["name"] for arm in rough.results()["arms"]} == {"dpo", "sft"}

    study = rough.start()
    orphan = rough.at_work("ppo", study)
    study.kill()
    again = rough.start()
    study.wait()
    writer = rough.at_work("ppo", again)
    assert not orphan.is_running()
    assert writer.pid != orphan.pid
    assert again.wait(timeout=600) == 0
    assert rough.results() == calm.results()
    for name in ("metrics.jsonl", "samples.jsonl", "result.json", "final/model.safetensors"):
        pair = [place.study / "seed-0/ppo" / name for place in (calm, rough)]
        assert pair[0].read_bytes() == pair[1].read_bytes(), name
    manifest = json.loads((rough.study / "seed-0/ppo/manifest.json").read_text())
    assert manifest["threads"] == manifest["spec"]["threads"] == 1
