"""What every run of a study scored on every problem, as tables of seeds x problems. No torch."""

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
    """The problems that every run of a study answered, with their levels; the names of what was measured of each beside the
    score; the score's own name; what runs wrote of each problem; and the measures of which less is better.

    A diverged run delivers no policy. Where values are 0 or more it gets 0; where they have no zero (a reward model's), or
    less is better, the worst value that any run got on the problem.
    """

    levels: Mapping[str, str]
    measures: Sequence[str]
    score: str
    tables: Sequence[Mapping[str, Any]]
    lower: frozenset[str]

    @classmethod
    def of(cls, arms: Arms, decoding: str, score: str, declared: Iterable[Measure] = ()) -> Board:
        """`score`: the name of the mean score; `declared`: the evaluators' descriptions of their measures. Raises
        `UserError` where every run of every arm diverged."""
        runs = [run for runs in arms.values() for run in runs if not run.diverged]
        if not runs:
            raise UserError("Every run of every arm diverged: there is nothing to report. Lower the learning rates.")
        tables = [run.problems(decoding) for run in runs]
        levels = {name: row["level"] for name, row in tables[0].items()}
        measures = tuple(next(iter(tables[0].values())).get("measures", ()))
        lower = frozenset(measure.name for measure in declared if measure.better == "lower")
        return cls(levels, measures, score, tables, lower)

    def table(self, runs: Sequence[FinishedRun], decoding: str, level: str = "", measure: str = "") -> Scores:
        """An arm's values of a measure, seeds x problems (of one level, where one is named): each cell is one problem's.
        The measure is the mean score where none is named."""
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
    """A problem's value of a measure; its score ('') is the mean over its samples."""
    if not measure:
        return mean(problem["scores"])
    try:
        return problem["measures"][measure]
    except KeyError as error:
        raise UserError(f"`headline` is {measure}, which these runs have not measured.") from error


def worst_values(tables: Sequence[Mapping[str, Any]], measure: str = "", *, lower: bool = False) -> dict[str, float]:
    """Each problem's worst value in any of the tables, but at most 0 where more is better: the value that a diverged run
    gets."""
    worst: dict[str, float] = {}
    for name in tables[0]:
        values = [problem_value(rows[name], measure) for rows in tables if name in rows]
        worst[name] = max(values) if lower else min(0.0, *values)
    return worst
