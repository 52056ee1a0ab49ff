"""Stands in for the process of an arm in tests of what launches arms: no torch, no training.

It dies with its parent, locks and claims its directory as a run does, and writes to the study's file `events` when it
begins, when it ends and when it is asked to stop.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from preflab.arm.process import die_with_parent
from preflab.errors import UserError
from preflab.evaluation.base import EvaluatorSpec
from preflab.methods.cost import Cost, DataSize
from preflab.methods.spec import Method
from preflab.sampling.spec import SamplerSpec
from preflab.train.directory import RUN_FORMAT, claim, locked
from preflab.train.files import write_json


class Work(Method):
    """A method of a stub: how its run ends. `waits` until there is a file `go` in its directory."""

    kind: Literal["work"] = "work"
    end: Literal["well", "killed", "broken", "diverged", "waits", "refused"] = "well"

    def cost(self, size: DataSize) -> Cost:
        return Cost()

    def train(self, parts: Any) -> Any:
        raise NotImplementedError


class Pairing(Work):
    """The same for a stage whose pairs an arm uses."""

    product = "preferences"


class Idle(SamplerSpec):
    """A sampler that is never opened: the real one imports torch."""

    kind: Literal["idle"] = "idle"

    def open(self, context: Any) -> Any:
        raise NotImplementedError


class Blind(EvaluatorSpec):
    """An evaluator that is never opened."""

    kind: Literal["blind"] = "blind"

    def open(self, context: Any) -> Any:
        raise NotImplementedError


COUNTS = {"flops": 100.0, "labels": 1.0, "sampled_tokens": 0.0, "forward_tokens": 0.0, "trained_tokens": 0.0}
RESULT = {"name": "x", "seed": 0, "method": "work", "product": "policy", "parameters": 1, "counts": COUNTS}
RESULT |= {"best": {"done": 0, "best_score": None, "best_step": 0}}


def say(directory: Path, what: str) -> None:
    """One line, written at once: several processes write the file."""
    home = next(parent for parent in directory.parents if parent.name.startswith("seed-")).parent
    with (home / "events").open("a") as file:
        file.write(f"{what} {directory.relative_to(home)} {os.getpid()}\n")


def work(end: str, directory: Path) -> None:
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "broken":
        sys.exit("something broke")
    while end == "waits" and not (directory / "go").exists():
        time.sleep(0.02)


def run(spec: dict[str, Any], directory: Path) -> None:
    end = spec["method"]["end"] if spec["method"] else "well"
    with locked(directory):
        if end == "refused":
            raise UserError("The stub is refused.")
        claim(directory, {"format": RUN_FORMAT, "spec": spec, "threads": os.environ["OMP_NUM_THREADS"]})
        say(directory, "begin")
        work(end, directory)
        (directory / "final").mkdir(exist_ok=True)
        diverged = "The loss is nan." if end == "diverged" else None
        write_json(directory / "result.json", RESULT | {"diverged": diverged})
        say(directory, "end")


def stub_process(run_file: Path, directory: Path) -> int:
    die_with_parent()

    def stop(signum: int, frame: object) -> None:
        say(directory, "stop")
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    try:
        run(json.loads(run_file.read_text()), directory)
    except UserError as error:
        print(f"preflab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(stub_process(Path(sys.argv[1]), Path(sys.argv[2])))
