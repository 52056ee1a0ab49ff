"""Defines the score table of an arm (seeds x problems) and computes weighted sums of score tables. No torch.

Each cell is the mean score of the answers of one run (one seed) to one problem, such as a pass rate or a reward. Arms
are *paired*: with the same seed, all arms start from the same SFT model and answer the same problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.errors import UserError


@dataclass(frozen=True, eq=False)
class Scores:
    """One arm's scores: `values` [S, P], with one row for each of the `seeds` and one column for each of the
    `problems`.

    A diverged run also has a row, which contains substitute scores (such as 0). Its seed is listed in `diverged`.
    Raises `UserError` if the table is empty or has the wrong shape, if a value is not finite, or if a seed or a problem
    occurs twice.

    `as_is`: True if the arm is one policy that was trained outside the study, and not a sample of training runs. With a
    single seed, the interval of such an arm is over the problems alone.
    """

    values: Floats
    seeds: tuple[int, ...]
    problems: tuple[str, ...]
    diverged: tuple[int, ...] = ()
    as_is: bool = False

    def __post_init__(self) -> None:
        expected = (len(self.seeds), len(self.problems))
        if self.values.shape != expected or 0 in expected:
            raise UserError(
                f"scores: the table has shape {self.values.shape} for {expected[0]} seeds and {expected[1]} problems. "
                "Give one row for each seed and one column for each problem, at least one of each."
            )
        if len(set(self.seeds)) < expected[0] or len(set(self.problems)) < expected[1]:
            raise UserError("scores: a seed or a problem occurs twice. Average a problem's answers into one cell.")
        if not np.isfinite(self.values).all():
            row, column = np.argwhere(~np.isfinite(self.values))[0]
            raise UserError(
                f"scores: seed {self.seeds[row]}, problem {self.problems[column]!r} is {self.values[row, column]}. "
                "Every value must be finite. Give a diverged run a score (such as 0) and list its seed in `diverged`."
            )

    def table(self, seeds: Sequence[int], problems: Sequence[str]) -> Floats:
        """Returns the cells of `seeds` and `problems` in the given order, as an array [len(seeds), len(problems)]."""
        rows = [self.seeds.index(seed) for seed in seeds]
        column = {problem: i for i, problem in enumerate(self.problems)}
        return self.values[np.ix_(rows, [column[problem] for problem in problems])]


def share_seeds(*arms: Scores) -> bool:
    """Returns True if at least one seed occurs in all of the arms' tables."""
    return bool(set(arms[0].seeds).intersection(*(arm.seeds for arm in arms[1:])))


def combined(arms: Sequence[Scores], weights: Sequence[float], names: Sequence[str]) -> tuple[tuple[int, ...], Floats]:
    """Returns the common seeds of the arms, and the weighted sum of the arms' score tables under these seeds, [S, P].
    `names`: the names of the arms for error messages.

    Raises `UserError` if the arms answered different problems or share no seed.
    """
    first = arms[0]
    for arm, name in zip(arms[1:], names[1:], strict=True):
        differing = set(first.problems) ^ set(arm.problems)
        if differing:
            raise UserError(
                f"{names[0]} and {name} did not answer the same problems ({len(differing)} differ, among them "
                f"{min(differing)!r}). Evaluate these arms on the same test set."
            )
    seeds = tuple(seed for seed in first.seeds if all(seed in arm.seeds for arm in arms[1:]))
    if not seeds:
        have = " and ".join(f"{name} (seeds {list(arm.seeds)})" for arm, name in zip(arms, names, strict=True))
        raise UserError(
            f"{have} share no seed, but arms are compared seed by seed. Run these arms with the same seeds."
        )
    tables = [weight * arm.table(seeds, first.problems) for arm, weight in zip(arms, weights, strict=True)]
    return seeds, np.sum(tables, axis=0)
