"""Reads the finished runs of a study: the runs' results, and the compute and labels that the runs used. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from preflab.analysis.record import DecodingChoice, Timing
from preflab.arm.planned import PlannedRun
from preflab.arm.result import Counts, MeasuredResult, TrainedResult
from preflab.arm.spec import is_trained_elsewhere
from preflab.errors import UserError
from preflab.evaluation.result import Measurements, ProblemScores
from preflab.meter import Unit
from preflab.train.directory import RUN_MANIFEST
from preflab.train.files import read_lines
from preflab.train.finished import check_written, read_result
from preflab.train.ownership import METRICS, TIMING
from preflab.train.sealed import read_sealed
from preflab.types import VERDICT

DECODINGS: tuple[DecodingChoice, ...] = ("chosen", "unit")
"""The decoding settings with which every run is measured. 'chosen': the temperature from the evaluation settings (0 means
greedy decoding). 'unit': temperature 1."""


@dataclass(frozen=True)
class FinishedRun:
    """One finished run. `planned`: the run in the study's plan. `result`: the content of the run's `result.json`.
    `used`: the total compute, labels and tokens of the run and of the stages that the run needs."""

    planned: PlannedRun
    result: MeasuredResult
    used: Counts

    @property
    def seed(self) -> int:
        return self.planned.seed

    @property
    def diverged(self) -> bool:
        return self.result.diverged is not None

    @property
    def evaluation(self) -> Measurements:
        """The measurements in `result.json`. Raises `UserError` if `result.json` contains no measurements. Do not read
        this property of a diverged run, which has no measurements."""
        if self.result.evaluation is None:
            raise UserError(
                f"{self.planned.result_file} is damaged: `evaluation` is missing. Restore it, or remove "
                f"{self.planned.directory} and run the study again."
            )
        return self.result.evaluation

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The records of the run's training steps. Raises `UserError` if `metrics.jsonl` was changed after the run wrote
        it."""
        check_written(self.planned.directory, self.result, METRICS)
        return read_lines(self.planned.directory / METRICS)

    @property
    def never_rewarded(self) -> bool:
        """True if samples were judged during training and no sample passed."""
        judged = [step for step in self.steps if any(name.startswith(VERDICT) for name in step)]
        return bool(judged) and not any(step.get(f"{VERDICT}passed") for step in judged)

    def problems(self, decoding: DecodingChoice) -> Mapping[str, ProblemScores]:
        return self.evaluation.at(decoding).problems

    @property
    def elsewhere(self) -> Mapping[str, Mapping[str, float]]:
        """The measures that are measured on other items than the testbed's prompts, such as the questions of a benchmark.
        Maps the name of each such measure to a dictionary, which maps each item to its value. Empty for a diverged
        run."""
        return {} if self.diverged else self.evaluation.elsewhere

    def measures(self, decoding: DecodingChoice) -> dict[str, float | None]:
        """Maps the name of each of the run's measures to its value. An unmeasured KL or entropy is None. Returns {} for
        a diverged run."""
        if self.diverged:
            return {}
        measures, kl = dict[str, float | None](self.evaluation.at(decoding).measures), self.evaluation.unit.kl
        return measures if decoding == "chosen" else measures | {"kl": kl.estimate, "entropy": kl.entropy}


Arms = Mapping[str, Sequence[FinishedRun]]
"""Maps the name of each arm to its finished runs, ordered by seed."""


def gather(planned: Iterable[PlannedRun]) -> dict[str, list[FinishedRun]]:
    """Reads the results of the planned runs from disk. Returns the finished runs of each arm, ordered by seed. An arm
    without a finished run is left out."""
    arms: dict[str, list[FinishedRun]] = {}
    for run in planned:
        if run.spec.measure == "test" and run.result_file.exists():
            result = read_result(run.directory, MeasuredResult)
            arms.setdefault(run.name, []).append(FinishedRun(run, result, total_counts(run, result)))
    return arms


def total_counts(run: PlannedRun, result: TrainedResult) -> Counts:
    """Returns the total compute, labels and tokens of a run and of the stages that the run needs."""
    return Counts.total([result.counts, *(read_result(need, TrainedResult).counts for need in run.needs)])


def mean_used(runs: Sequence[FinishedRun]) -> dict[Unit, float] | None:
    """Returns the compute and the labels that an arm used, each as a mean over the arm's runs. Returns None if the arm
    was trained outside the study."""
    if is_trained_elsewhere(runs[0].planned.spec):
        return None
    return {"compute": mean([run.used.flops for run in runs]), "labels": mean([run.used.labels for run in runs])}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def versions_of(directories: Iterable[Path]) -> dict[str, str]:
    """Maps each package to the version that the runs used, and 'revision' to the revision of preflab. If the runs used
    several versions of a package, the package's text lists all these versions. `directories`: the directories of the
    runs."""
    versions: dict[str, list[str]] = {}
    for directory in directories:
        manifest = read_sealed(directory / RUN_MANIFEST, {"versions": dict, "revision": str | NoneType})
        for name, value in {**manifest["versions"], "revision": manifest["revision"] or "unknown"}.items():
            versions.setdefault(name, []).append(value)
    return {name: ", ".join(dict.fromkeys(values)) for name, values in versions.items()}


def timing_of(run: FinishedRun) -> Timing:
    """Returns a run's wall-clock seconds, summed over the first start and all resumptions, and the run's peak
    memory."""
    rows = [row for row in read_lines(run.planned.directory / TIMING) if "wall_seconds" in row]
    seconds = sum(row["wall_seconds"] for row in rows) or None
    peak_memory = max((row["peak_memory"] for row in rows if "peak_memory" in row), default=None)
    return Timing(arm=run.planned.name, seed=run.seed, wall_seconds=seconds, peak_memory=peak_memory)
