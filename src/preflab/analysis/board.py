"""Makes tables of seeds x problems: what every run of a study scored on every problem. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.analysis.gather import Arms, FinishedRun, mean
from preflab.analysis.record import Measure
from preflab.analysis.scores import Scores
from preflab.errors import UserError


@dataclass(frozen=True)
class Board:
    """The problems that every run of a study answered.

    `levels`: each problem's level. `measures`: the names of what was measured on each problem beside the score. `score`: the
    name of the score. `tables`: for each run that did not diverge, what the run wrote about each problem. `lower`: the
    measures for which a lower value is better.

    A diverged run delivers no policy. If the values of a measure are 0 or more, a diverged run gets 0. If the values can be
    negative (the scores of a reward model), or if lower is better, the run gets the worst value of any run on the problem.
    """

    levels: Mapping[str, str]
    measures: Sequence[str]
    score: str
    tables: Sequence[Mapping[str, Any]]
    lower: frozenset[str]

    @classmethod
    def of(cls, arms: Arms, decoding: str, score: str, declared: Iterable[Measure] = ()) -> Board:
        """Makes the board from the finished runs. `score`: the name of the mean score. `declared`: the measures as the
        evaluators describe them. Raises `UserError` if every run of every arm diverged."""
        runs = [run for runs in arms.values() for run in runs if not run.diverged]
        if not runs:
            raise UserError("Every run of every arm diverged: there is nothing to report. Lower the learning rates.")
        tables = [run.problems(decoding) for run in runs]
        levels = {name: row["level"] for name, row in tables[0].items()}
        measures = tuple(next(iter(tables[0].values())).get("measures", ()))
        lower = frozenset(measure.name for measure in declared if measure.better == "lower")
        return cls(levels, measures, score, tables, lower)

    def table(self, runs: Sequence[FinishedRun], decoding: str, level: str = "", measure: str = "") -> Scores:
        """Returns an arm's values of a measure, seeds x problems: each cell is one run's value on one problem. If `level` is
        given, only the problems of this level are in the table. If no measure is named, the measure is the mean score."""
        measure = "" if measure == self.score else measure
        names = tuple(name for name, its_level in self.levels.items() if level in ("", its_level))
        diverged = tuple(run.seed for run in runs if run.diverged)
        worst = worst_values(self.tables, measure, lower=measure in self.lower) if diverged else {}
        rows = [
            [worst[name] if run.diverged else problem_value(run.problems(decoding)[name], measure) for name in names]
            for run in runs
        ]
        return Scores(np.array(rows), tuple(run.seed for run in runs), names, diverged)


def problem_value(problem: Mapping[str, Any], measure: str) -> float:
    """Returns a problem's value of a measure. The measure '' is the score: the mean over the problem's samples."""
    if not measure:
        return mean(problem["scores"])
    try:
        return problem["measures"][measure]
    except KeyError as error:
        raise UserError(f"`headline` is {measure}, which these runs have not measured.") from error


def worst_values(tables: Sequence[Mapping[str, Any]], measure: str = "", *, lower: bool = False) -> dict[str, float]:
    """Returns the value that a diverged run gets on each problem: the worst value in any of the tables. If higher is better,
    this value is at most 0."""
    worst: dict[str, float] = {}
    for name in tables[0]:
        values = [problem_value(rows[name], measure) for rows in tables if name in rows]
        worst[name] = max(values) if lower else min(0.0, *values)
    return worst
