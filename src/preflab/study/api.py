"""The Python interface: train and measure in this process, compare across seeds, run a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preflab.errors import UserError
from preflab.rewards import parse_reward
from preflab.spec import parse_spec
from preflab.study import statistics
from preflab.study.arm import Arm
from preflab.study.scores import Scores
from preflab.train.settings import Keeping


@dataclass(frozen=True)
class Trained:
    """A finished run: its directory, its result as plain data, and `final`, what it trained (for another run's `init`)."""

    directory: Path
    result: dict[str, Any]

    @property
    def final(self) -> str:
        return str(self.directory / "final")

    @property
    def score(self) -> float:
        """The test score at the temperature that the validation split chose."""
        return self.result["evaluation"]["chosen"]["measures"]["score"]


def train(
    method: str,
    *,
    output: str | Path,
    init: Trained | str | None = None,
    reward: str | None = None,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    **arm: Any,
) -> Trained:
    """Trains with one method in this process and measures the result; the same call resumes or returns what is done.

    `settings`: the method's hyper-parameters. `arm`: further fields of a run file (`model`, `testbed`, `evaluator`, ...);
    the testbed is `minicode`, measured by its hidden tests, unless named. Raises `UserError` on anything unknown.
    """
    from preflab.study.execute import execute

    data = {
        "name": method,
        "method": {"kind": method, **(settings or {})},
        "init": init.final if isinstance(init, Trained) else init,
        "reward": parse_reward(reward) if reward is not None else None,
        "seed": seed,
        "testbed": "minicode",
        "evaluator": "hidden-tests",
        **arm,
    }
    spec = parse_spec(Arm, data, where="preflab.train")
    directory = Path(output)
    return Trained(directory, execute(spec, directory, keeping=Keeping(progress=progress)))


def compare(first: Sequence[Trained], second: Sequence[Trained]) -> statistics.Comparison:
    """Paired difference of two methods' test scores over seeds and problems; needs the same seeds on both sides.

    Raises `UserError` where a run was not measured, or the sides share no seed.
    """
    names = tuple(side[0].result["name"] for side in (first, second))
    return statistics.compare(_scores(first), _scores(second), names=(names[0], names[1]))


def _scores(runs: Sequence[Trained]) -> Scores:
    for run in runs:
        if "chosen" not in run.result.get("evaluation", {}):
            raise UserError(f"{run.directory} was not measured: name an evaluator.")
    problems = tuple(runs[0].result["evaluation"]["chosen"]["problems"])
    rows = [
        [float(np.mean(run.result["evaluation"]["chosen"]["problems"][name]["scores"])) for name in problems]
        for run in runs
    ]
    return Scores(np.array(rows), tuple(run.result["seed"] for run in runs), problems)
