"""Makes tables of seeds x problems: each cell is the score of one run of a study on one problem. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflab.analysis.gather import Arms, FinishedRun, mean
from preflab.analysis.record import DecodingChoice, Measure
from preflab.analysis.scores import Scores
from preflab.errors import UserError
from preflab.evaluation.result import ProblemScores


@dataclass(frozen=True)
class Board:
    """The problems of a study, and the measured values of every run on every problem.

    `levels`: the difficulty level of each problem. `measures`: the names of the measures with a value for each problem,
    except the score. `score`: the name of the score. `tables`: for each run that did not diverge, the run's scores and
    measures on each problem. `lower`: the measures for which lower values are better.

    A diverged run has no policy to measure, so the board gives a diverged run the worst value on each problem. If
    higher values are better, the worst value is the lowest value of any run on the problem, or 0 if this lowest value
    is above 0. A diverged run therefore has a pass rate of 0. If lower values are better, the worst value is the
    highest value of any run on the problem.
    """

    levels: Mapping[str, str]
    measures: Sequence[str]
    score: str
    tables: Sequence[Mapping[str, ProblemScores]]
    lower: frozenset[str]

    @classmethod
    def of(cls, arms: Arms, decoding: DecodingChoice, score: str, declared: Iterable[Measure] = ()) -> Board:
        """Makes the board from the answers that the finished runs gave with the decoding setting `decoding`. `score`:
        the name of the mean score. `declared`: the evaluators' measures, which define whether lower values are better.
        Raises `UserError` if every run of every arm diverged."""
        runs = [run for runs in arms.values() for run in runs if not run.diverged]
        if not runs:
            raise UserError("Every run of every arm diverged, so there is nothing to report. Lower the learning rates.")
        tables = [run.problems(decoding) for run in runs]
        levels = {name: row.level for name, row in tables[0].items()}
        measures = tuple(next(iter(tables[0].values())).measures)
        lower = frozenset(measure.name for measure in declared if measure.better == "lower")
        return cls(levels, measures, score, tables, lower)

    def table(
        self, runs: Sequence[FinishedRun], decoding: DecodingChoice, level: str = "", measure: str = ""
    ) -> Scores:
        """Returns the values of a measure for one arm as a table of seeds x problems. `runs`: the arm's runs. Each cell
        is the value of one run on one problem. If `level` is given, the table contains only the problems of this
        difficulty level. If `measure` is '', the cells are mean scores."""
        measure = "" if measure == self.score else measure
        names = tuple(name for name, its_level in self.levels.items() if level in ("", its_level))
        diverged = tuple(run.seed for run in runs if run.diverged)
        worst = worst_values(self.tables, measure, lower=measure in self.lower) if diverged else {}
        rows = [
            [worst[name] if run.diverged else problem_value(run.problems(decoding)[name], measure) for name in names]
            for run in runs
        ]
        return Scores(np.array(rows), tuple(run.seed for run in runs), names, diverged)


def problem_value(problem: ProblemScores, measure: str) -> float:
    """Returns the value of `measure` on a problem. If `measure` is '', returns the mean score over the problem's
    samples."""
    if not measure:
        return mean(problem.scores)
    try:
        return problem.measures[measure]
    except KeyError as error:
        raise UserError(
            f"`headline` is {measure}, but these runs did not measure {measure}. Choose a measure of these runs."
        ) from error


def worst_values(
    tables: Sequence[Mapping[str, ProblemScores]], measure: str = "", *, lower: bool = False
) -> dict[str, float]:
    """Maps each problem to the value that a diverged run gets: the worst value in any table. If `lower` is True, lower
    values are better, and the worst value is the highest value. If `lower` is False, the worst value is the lowest
    value, or 0 if the lowest value is above 0."""
    worst: dict[str, float] = {}
    for name in tables[0]:
        values = [problem_value(rows[name], measure) for rows in tables if name in rows]
        worst[name] = max(values) if lower else min(0.0, *values)
    return worst
