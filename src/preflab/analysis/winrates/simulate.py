"""Simulates judged studies with a known true win rate, and counts how often corrected intervals cover it. Does not
import torch.

Each prompt has a chance p that people prefer the first answer, and a chance of a tie. A judge starts from the outcome
by people, but is wrong with a given probability. A wrong judge chooses the other answer or, for a tie, any answer. In
addition, `bias` makes the judge prefer the first answer. `python -m preflab.analysis.winrates.simulate` prints the
table of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from preflab.analysis.intervals import Floats
from preflab.analysis.record import Interval
from preflab.analysis.winrates.ppi import correct_by_labels
from preflab.analysis.winrates.shares import win_rate


@dataclass(frozen=True)
class JudgedStudy:
    """The design of a simulated study. rate: the share of wins among prompts without a tie. ties: the share of ties.
    wrong: how often the judge is wrong. bias: how often the judge chooses the first answer instead, whatever people
    say."""

    prompts: int
    labels: int
    rate: float = 0.6
    ties: float = 0.2
    wrong: float = 0.2
    bias: float = 0.0

    @property
    def truth(self) -> float:
        """The true win rate: the mean outcome by people over all prompts."""
        return (1 - self.ties) * self.rate + self.ties / 2

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Returns the outcomes by people and by the judge, [prompts] each. The order of the prompts is random, so that
        the first prompts are a random sample."""
        tied = rng.random(self.prompts) < self.ties
        people = np.where(tied, 0.5, (rng.random(self.prompts) < self.rate).astype(float))
        other = np.where(tied, (rng.random(self.prompts) < 0.5).astype(float), 1 - people)
        judge = np.where(rng.random(self.prompts) < self.wrong, other, people)
        return people, np.where(rng.random(self.prompts) < self.bias, 1.0, judge)


Estimator = Callable[[JudgedStudy, Floats, Floats], Interval]


def corrected(study: JudgedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the win rate that is corrected with the labels of the first prompts."""
    labels = study.labels
    return correct_by_labels(people[:labels], judge[:labels], judge[labels:]).rate


def labels_alone(study: JudgedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the mean of the labels."""
    return correct_by_labels(people[: study.labels], judge[: study.labels], judge[study.labels :]).labels_alone


def uncorrected(study: JudgedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the judge's own win rate."""
    return win_rate(judge[None, :])


def count_covered(study: JudgedStudy, estimator: Estimator, count: int, seed: int = 0) -> tuple[int, float]:
    """Returns the number of simulated studies, out of `count`, whose interval contains the true win rate. Also returns
    the mean half width of the intervals."""
    rng = np.random.default_rng(seed)
    covered, width = 0, 0.0
    for _ in range(count):
        interval = estimator(study, *study.draw(rng))
        low, high = interval.low or 0.0, 1.0 if interval.high is None else interval.high
        covered += low <= study.truth <= high
        width += (high - low) / 2
    return covered, width / count


JUDGES = {
    "20% wrong": (0.2, 0.0),
    "20% wrong, 20% for the first": (0.2, 0.2),
    "a coin": (0.5, 0.0),
    "perfect": (0.0, 0.0),
}
"""For each judge of the table, how often it is wrong and its bias."""


def list_studies() -> Iterator[tuple[str, JudgedStudy]]:
    """Yields the studies of the table, each with the words for its judge: first studies with win rates near one half,
    then studies with win rates near 1."""
    near_one_half = ((100, 20), (100, 50), (500, 20), (500, 50), (500, 100))
    for words, (wrong, bias) in JUDGES.items():
        for prompts, labels in near_one_half:
            yield words, JudgedStudy(prompts, labels, wrong=wrong, bias=bias)
    near_one = ((100, 50), (500, 50), (500, 100))
    for rate in (0.9, 0.97):
        for words, (wrong, bias) in {"5% wrong": (0.05, 0.0), **JUDGES}.items():
            for prompts, labels in near_one:
                yield words, JudgedStudy(prompts, labels, rate=rate, ties=0.0, wrong=wrong, bias=bias)


def print_table(count: int) -> None:
    """Prints the coverage and the half width of each estimator. With 20,000 studies a cell this takes some minutes."""
    error = 2 * np.sqrt(0.95 * 0.05 / count)
    print(
        f"Coverage of nominal .95 intervals, {count} studies a cell, Monte Carlo error +-{error:.3f}; half widths in brackets"
    )
    print(
        "| true rate | judge | prompts | labels | corrected | labels alone | judge alone |\n|--:|---|--:|--:|---|---|---|"
    )
    for words, study in list_studies():
        rows = [count_covered(study, each, count) for each in (corrected, labels_alone, uncorrected)]
        cells = "".join(f" {covered / count:.3f} ({width:.3f}) |" for covered, width in rows)
        print(f"| {study.truth:.2f} | {words} | {study.prompts} | {study.labels} |{cells}", flush=True)


if __name__ == "__main__":
    print_table(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
