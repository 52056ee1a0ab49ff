"""What every run of a study scored on every problem, as tables of seeds x problems. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.analysis.gather import Arms, FinishedRun, mean
from preflab.analysis.scores import Scores
from preflab.errors import UserError

REWARD = "reward"
MEAN_SCORES = (REWARD, "pass@1")
"""What a mean score is called: of texts, and of programs."""


@dataclass(frozen=True)
class Board:
    """The problems that every run of a study answered, with their levels; what a diverged run is given on each; the names of
    what was measured of each beside the score; and the score's own name: pass@1 of programs, else the reward.

    A diverged run delivers no policy. Where scores are 0 or 1 it gets 0; where they have no zero (a reward model's), the
    worst score that any run got on the problem.
    """

    levels: Mapping[str, str]
    worst: Mapping[str, float]
    measures: Sequence[str]
    score: str

    @classmethod
    def of(cls, arms: Arms, decoding: str) -> Board:
        """Raises `UserError` where every run of every arm diverged."""
        runs = [run for runs in arms.values() for run in runs if not run.diverged]
        if not runs:
            raise UserError("Every run of every arm diverged: there is nothing to report. Lower the learning rates.")
        tables = [run.problems(decoding) for run in runs]
        levels = {name: row["level"] for name, row in tables[0].items()}
        measures = tuple(next(iter(tables[0].values())).get("measures", ()))
        is_judged = measures or any("pass@1" in run.measures(decoding) for run in runs)
        return cls(levels, worst_scores(tables), measures, "pass@1" if is_judged else REWARD)

    def table(self, runs: Sequence[FinishedRun], decoding: str, level: str = "", measure: str = REWARD) -> Scores:
        """An arm's values of a measure, seeds x problems (of one level, where one is named): each cell is one problem's."""
        names = tuple(name for name, its_level in self.levels.items() if level in ("", its_level))
        rows = [
            [
                self.worst[name] if run.diverged else problem_value(run.problems(decoding)[name], measure)
                for name in names
            ]
            for run in runs
        ]
        diverged = tuple(run.seed for run in runs if run.diverged)
        return Scores(np.array(rows), tuple(run.seed for run in runs), names, diverged)


def problem_value(problem: Mapping[str, Any], measure: str) -> float:
    """A problem's value of a measure; its score is the mean over its samples."""
    if measure in MEAN_SCORES:
        return mean(problem["scores"])
    try:
        return problem["measures"][measure]
    except KeyError as error:
        raise UserError(f"`headline` is {measure}, which these runs have not measured.") from error


def worst_scores(tables: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Each problem's worst score in any of the tables, and 0 at the most: what a diverged run is given."""
    return {name: min(0.0, *(mean(rows[name]["scores"]) for rows in tables if name in rows)) for name in tables[0]}
