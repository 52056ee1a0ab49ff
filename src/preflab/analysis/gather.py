"""The finished runs of a study: what each one wrote, as tables, curves and sums. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preflab.analysis.record import results as report
from preflab.analysis.scores import Scores
from preflab.errors import UserError
from preflab.meter import Unit
from preflab.study.spec import Study, Task, tasks
from preflab.train.files import read_json, read_lines
from preflab.types import VERDICT

SCORE = "reward"
SCORES = (SCORE, "pass@1")
"""What a mean score is called: of texts, and of programs."""


@dataclass(frozen=True)
class Ran:
    """One finished run: its task, its `result.json`, and the curves that it wrote."""

    task: Task
    result: Mapping[str, Any]
    spent: Mapping[str, float]

    @property
    def diverged(self) -> bool:
        return self.result["diverged"] is not None

    def problems(self, decoding: str) -> Mapping[str, Any]:
        return self.result["evaluation"][decoding]["problems"]

    def measures(self, decoding: str) -> dict[str, float]:
        if self.diverged:
            return {}
        part = self.result["evaluation"][decoding]
        found = dict(part["measures"])
        kl = self.result["evaluation"]["unit"]["kl"]
        return found if decoding == "chosen" else found | {"kl": kl["estimate"], "entropy": kl["entropy"]}


def gather(study: Study, directory: Path) -> dict[str, list[Ran]]:
    """The finished runs of each arm, by seed. An arm without any is left out; raises `UserError` where none has one."""
    found: dict[str, list[Ran]] = {}
    for task in tasks(study, directory):
        path = task.directory / "result.json"
        if task.arm.measure != "test" or not path.exists():
            continue
        result = read_json(path)
        found.setdefault(task.name, []).append(Ran(task, result, spent(task, result)))
    if not found:
        raise UserError(f"No arm of {study.name!r} has finished in {directory}: there is nothing to report yet.")
    return found


def spent(task: Task, result: Mapping[str, Any]) -> dict[str, float]:
    """What a run used, the stages that it stands on included."""
    totals = dict(result["counts"])
    for need in task.needs:
        for name, count in read_json(need / "result.json")["counts"].items():
            totals[name] += count
    return totals


@dataclass(frozen=True)
class Board:
    """The problems that every run of a study answered, with their levels, what a diverged run is given on each, the names of
    what was measured of each beside the score, and the score's own: pass@1 of programs, else the reward.

    A diverged run delivers no policy. Where scores are 0 or 1 it gets 0; where they have no zero (a reward model's), the
    worst score that any run got on the problem.
    """

    levels: Mapping[str, str]
    worst: Mapping[str, float]
    rates: Sequence[str]
    score: str

    @classmethod
    def of(cls, ran: Mapping[str, Sequence[Ran]], decoding: str) -> Board:
        """Raises `UserError` where every run of every arm diverged."""
        tables = [run.problems(decoding) for runs in ran.values() for run in runs if not run.diverged]
        if not tables:
            raise UserError("Every run of every arm diverged: there is nothing to report. Lower the learning rates.")
        levels = {name: row["level"] for name, row in tables[0].items()}
        first = next(iter(tables[0].values()))
        rates = tuple(first.get("measures", ()))
        judged = rates or any("pass@1" in run.measures(decoding) for runs in ran.values() for run in runs)
        return cls(levels, worst(tables), rates, "pass@1" if judged else SCORE)

    def table(self, runs: Sequence[Ran], decoding: str, level: str = "", measure: str = SCORE) -> Scores:
        """An arm's values of a measure, seeds x problems (of one level, where given): each cell is one problem's."""
        names = tuple(name for name, found in self.levels.items() if not level or found == level)
        rows = [
            [self.worst[name] if run.diverged else value(run.problems(decoding)[name], measure) for name in names]
            for run in runs
        ]
        seeds = tuple(run.task.seed for run in runs)
        return Scores(np.array(rows), seeds, names, tuple(run.task.seed for run in runs if run.diverged))


def value(problem: Mapping[str, Any], measure: str) -> float:
    """A problem's value of a measure; its score is the mean over its samples."""
    if measure in SCORES:
        return mean(problem["scores"])
    try:
        return problem["measures"][measure]
    except KeyError as error:
        raise UserError(f"`headline` is {measure}, which these runs have not measured.") from error


def worst(tables: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Each problem's worst score in any of the tables, and 0 at the most: what a diverged run is given."""
    return {name: min(0.0, *(mean(rows[name]["scores"]) for rows in tables if name in rows)) for name in tables[0]}


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def mean_spent(runs: Sequence[Ran]) -> dict[Unit, float] | None:
    """Compute and labels of an arm, averaged over its seeds; None where it was trained elsewhere."""
    if runs[0].task.arm.method is None and not runs[0].task.needs:
        return None
    return {
        "compute": mean([run.spent["flops"] for run in runs]),
        "labels": mean([run.spent["labels"] for run in runs]),
    }


CURVES = {
    "validation/score": "validation",
    "reward": "reward",
    "kl": "reference_kl",
    "loss": "loss",
    "accuracy": "accuracy",
}
POINTS = 60


def curve(run: Ran, records: Sequence[Mapping[str, Any]]) -> Iterable[report.Point]:
    """The training curve: every look at the validation split, and at most `POINTS` of the other steps."""
    stride = max(1, len(records) // POINTS)
    before = {name: run.spent[name] - run.result["counts"][name] for name in ("flops", "labels")}
    for index, record in enumerate(records):
        if index % stride and "validation/score" not in record:
            continue
        found = {label: record.get(name) for name, label in CURVES.items() if name in record or label == "validation"}
        found |= {name: value for name, value in record.items() if name.startswith(VERDICT)}
        yield report.Point(
            step=record["step"],
            labels=record["labels"] + before["labels"],
            flops=record["flops"] + before["flops"],
            tokens=record["trained_tokens"],
            metrics=found,
        )


def frontier(run: Ran, records: Sequence[Mapping[str, Any]]) -> Iterable[report.FrontierPoint]:
    """Score against KL to the start: at each look where the run measured KL, and at the end."""
    for record in records:
        if "validation/score" in record and "validation/kl" in record:
            yield report.FrontierPoint(
                step=record["step"], kl=record["validation/kl"], score=record["validation/score"]
            )
    if not run.diverged:
        found = run.result["evaluation"]["unit"]
        bound = run.result["evaluation"]["inference"]["n"] > 1
        step = records[-1]["step"] if records else 0
        yield report.FrontierPoint(step=step, kl=found["kl"]["estimate"], score=found["measures"]["score"], bound=bound)


def timing(run: Ran) -> report.Timing:
    rows = [row for row in read_lines(run.task.directory / "timing.jsonl") if "wall_seconds" in row]
    return report.Timing(
        arm=run.task.name,
        seed=run.task.seed,
        wall_seconds=sum(row["wall_seconds"] for row in rows) or None,
        peak_memory=max((row["peak_memory"] for row in rows), default=None),
    )


def never_passed(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run's samples were judged, and none of them passed."""
    judged = [record for record in records if any(name.startswith(VERDICT) for name in record)]
    return bool(judged) and not any(record.get(f"{VERDICT}passed") for record in judged)
