"""The Python interface: train and measure in this process, compare across seeds, run a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preflab.analysis import statistics
from preflab.analysis.gather import mean, worst
from preflab.analysis.scores import Scores
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.rewards import parse_reward
from preflab.spec import parse_spec
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
    def diverged(self) -> bool:
        return self.result["diverged"] is not None

    @property
    def score(self) -> float:
        """The test score at the temperature that the validation split chose."""
        return self.result["evaluation"]["chosen"]["measures"]["score"]


def fit(
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
    from preflab.arm.execute import execute

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
    spec = parse_spec(Arm, data, where="preflab.fit")
    directory = Path(output)
    return Trained(directory, execute(spec, directory, keeping=Keeping(progress=progress)))


def compare(first: Sequence[Trained], second: Sequence[Trained]) -> statistics.Comparison:
    """Paired difference of two methods' test scores over seeds and problems; needs the same seeds on both sides.

    A diverged run counts as in a study: 0, or the worst score of any run where scores have no zero. Raises `UserError`
    where a side has no run, a run was not measured, all diverged, or the sides share no seed.
    """
    if not first or not second:
        raise UserError("compare: give at least one run on each side.")
    measured = [_problems(run) for run in (*first, *second) if not run.diverged]
    if not measured:
        raise UserError("compare: every run diverged: there is nothing to compare. Lower the learning rates.")
    least = worst(measured)
    names = first[0].result["name"], second[0].result["name"]
    return statistics.compare(_scores(first, least), _scores(second, least), names=names)


def _problems(run: Trained) -> dict[str, Any]:
    """What a run scored, problem by problem."""
    if "chosen" not in run.result.get("evaluation", {}):
        raise UserError(f"{run.directory} was not measured: name an evaluator.")
    return run.result["evaluation"]["chosen"]["problems"]


def _scores(runs: Sequence[Trained], least: Mapping[str, float]) -> Scores:
    """One side's table, over the problems that its own runs answered (`statistics.compare` refuses different ones)."""
    tables = [None if run.diverged else _problems(run) for run in runs]
    names = tuple(next((table for table in tables if table is not None), least))
    rows = [[least[name] if table is None else mean(table[name]["scores"]) for name in names] for table in tables]
    lost = tuple(run.result["seed"] for run in runs if run.diverged)
    return Scores(np.array(rows), tuple(run.result["seed"] for run in runs), names, lost)
