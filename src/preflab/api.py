"""The Python interface: train and measure in this process, compare across seeds, run a study. Every function returns
data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from preflab.analysis.board import worst_values
from preflab.analysis.gather import mean
from preflab.analysis.record import Comparison, Results
from preflab.analysis.scores import Scores
from preflab.analysis.statistics import compare_scores
from preflab.arm.spec import Arm
from preflab.errors import UserError
from preflab.report import write_report
from preflab.rewards import parse_reward
from preflab.spec import parse_spec
from preflab.study.directory import read_study
from preflab.study.results import study_results
from preflab.study.run import run_missing
from preflab.study.spec import Study
from preflab.train.directory import locked
from preflab.train.files import naming_failures
from preflab.train.settings import Keeping

if TYPE_CHECKING:
    from preflab.study.forecast import Forecast


@dataclass(frozen=True)
class Trained:
    """A finished run. `result`: the content of its `result.json`, as plain data. `final`: the directory of what the run
    trained, for another run's `init`."""

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
        """The test score at the temperature that was chosen on the validation split."""
        return self.result["evaluation"]["chosen"]["measures"]["score"]


@dataclass(frozen=True)
class StudyOutcome:
    """A study that ran: its results, the page of its report, and one sentence for each run that failed."""

    results: Results
    page: Path
    failures: tuple[str, ...]


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
    """Trains with one method in this process and measures the result. If the same call is made again, it resumes an
    unfinished run, or returns a finished run.

    `settings`: the method's hyper-parameters. `arm`: further fields of a run file (`model`, `testbed`, `evaluators`,
    ...). Without these fields the testbed is `minicode`, and its hidden tests measure the result. Raises `UserError` on
    anything unknown.
    """
    from preflab.arm.execute import execute

    data = {
        "name": method.split(":")[-1],
        "method": {"kind": method, **(settings or {})},
        "init": init.final if isinstance(init, Trained) else init,
        "reward": parse_reward(reward) if reward is not None else None,
        "seed": seed,
        "testbed": "minicode",
        **({} if "evaluators" in arm else {"evaluator": "hidden-tests"}),
        **arm,
    }
    spec = parse_spec(Arm, data, where="preflab.fit")
    directory = Path(output)
    return Trained(directory, execute(spec, directory, keeping=Keeping(progress=progress)))


def compare(first: Sequence[Trained], second: Sequence[Trained]) -> Comparison:
    """Compares two methods: the paired difference of their test scores over problems and over the seeds that both sides
    have.

    A diverged run counts as in a study: as 0, or as the worst score of any run if scores have no zero. Raises `UserError`
    if a side has no run, if a run was not measured, if all runs diverged, or if the sides share no seed.
    """
    if not first or not second:
        raise UserError("compare: give at least one run on each side.")
    tables = [_problems(run) for run in (*first, *second) if not run.diverged]
    if not tables:
        raise UserError("compare: every run diverged: there is nothing to compare. Lower the learning rates.")
    worst = worst_values(tables)
    names = first[0].result["name"], second[0].result["name"]
    return compare_scores(_scores(first, worst), _scores(second, worst), names=names)


def run_study(
    study: Study,
    directory: Path,
    *,
    command: str = "",
    tune: bool = False,
    fresh: bool = False,
    samples: bool = True,
    quiet: bool = False,
) -> StudyOutcome:
    """Runs those runs of a study that are not done yet, and writes the study's report. Progress goes to standard error.

    `command`: the command that the report prints to repeat the study. `tune`: the tuning stage runs even if the study
    comes with tuned values. `fresh`: what an earlier start wrote is removed first. `samples`: the report quotes prompts
    and answers. Raises `UserError` if the directory holds another study, or if an arm cannot run.
    """
    with locked(directory), naming_failures(directory):
        failures = run_missing(study, directory, command=command, tune=tune, fresh=fresh, quiet=quiet)
        results, page = report_study(directory, samples=samples)
    return StudyOutcome(results, page, failures)


def plan_study(study: Study, directory: Path, *, fresh: bool = False) -> Forecast:
    """Times the study's models and its judge on this machine, and returns which runs would run and for how long. Raises
    `UserError` if the directory holds another study, or if the testbed lacks what is to be measured."""
    from preflab.study.forecast import forecast_study

    return forecast_study(study, directory, fresh=fresh)


def report_study(directory: Path, *, samples: bool = True) -> tuple[Results, Path]:
    """Writes the report of the runs that have finished so far; returns the results and the path of the page. Raises
    `UserError` if the directory holds no study."""
    study, command, failures = read_study(directory)
    with naming_failures(directory):
        results = study_results(study, directory, command=command, failures=failures)
        return results, write_report(results, directory, samples=samples)


def _problems(run: Trained) -> dict[str, Any]:
    """The test scores of a run, problem by problem."""
    if "chosen" not in run.result.get("evaluation", {}):
        raise UserError(f"{run.directory} was not measured: name an evaluator.")
    return run.result["evaluation"]["chosen"]["problems"]


def _scores(runs: Sequence[Trained], worst: Mapping[str, float]) -> Scores:
    """The score table of one side, over the problems that this side's runs answered. If the two sides answered different
    problems, `compare_scores` refuses them."""
    tables = [None if run.diverged else _problems(run) for run in runs]
    names = tuple(next((table for table in tables if table is not None), worst))
    rows = [[worst[name] if table is None else mean(table[name]["scores"]) for name in names] for table in tables]
    diverged = tuple(run.result["seed"] for run in runs if run.diverged)
    return Scores(np.array(rows), tuple(run.result["seed"] for run in runs), names, diverged)
