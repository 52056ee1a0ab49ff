"""Simulates contests with a known true win rate, and counts how often the intervals contain the true win rate. Does not
import torch.

On each prompt, people choose a tie, the first answer or the second answer, with given probabilities. The judge is wrong
with a given probability. A judge that is not wrong makes the same choice as people. A wrong judge chooses the answer that
people did not choose, or one of the two answers at random if people chose a tie. In addition, with probability `bias`, the
judge's choice is replaced by the first answer. `python -m preflab.analysis.winrates.simulate` prints the table of
docs/statistics.md.
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
class SimulatedStudy:
    """The design of a simulated contest. prompts: the number of judged prompts. labels: the number of prompts with a
    label of people. rate: the probability that the first answer wins if people do not choose a tie. ties: the
    probability of a tie. wrong: the probability that the judge is wrong. bias: the probability that the judge chooses
    the first answer, regardless of people's choice."""

    prompts: int
    labels: int
    rate: float = 0.6
    ties: float = 0.2
    wrong: float = 0.2
    bias: float = 0.0

    @property
    def truth(self) -> float:
        """The true win rate: the expected outcome by people's choices. A tie counts as half a win."""
        return (1 - self.ties) * self.rate + self.ties / 2

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draws people's outcomes and the judge's outcomes, each as an array [prompts]. The prompts are independent, so
        the first prompts are a random sample."""
        tied = rng.random(self.prompts) < self.ties
        people = np.where(tied, 0.5, (rng.random(self.prompts) < self.rate).astype(float))
        other = np.where(tied, (rng.random(self.prompts) < 0.5).astype(float), 1 - people)
        judge = np.where(rng.random(self.prompts) < self.wrong, other, people)
        return people, np.where(rng.random(self.prompts) < self.bias, 1.0, judge)


Estimator = Callable[[SimulatedStudy, Floats, Floats], Interval]


def corrected(study: SimulatedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the corrected win rate. The first `study.labels` prompts have people's labels."""
    labels = study.labels
    return correct_by_labels(people[:labels], judge[:labels], judge[labels:]).rate


def labels_alone(study: SimulatedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the mean of people's labels of the first `study.labels` prompts, without the judge."""
    return correct_by_labels(people[: study.labels], judge[: study.labels], judge[study.labels :]).labels_alone


def uncorrected(study: SimulatedStudy, people: Floats, judge: Floats) -> Interval:
    """Returns the win rate computed from the judge's outcomes alone, without a correction."""
    return win_rate(judge[None, :])


def count_covered(study: SimulatedStudy, estimator: Estimator, count: int, seed: int = 0) -> tuple[int, float]:
    """Simulates `count` studies. Returns the number of studies in which the estimator's interval contains the true win
    rate, and the mean half width of the intervals."""
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
"""Maps each judge of the table to its values of `SimulatedStudy.wrong` and `SimulatedStudy.bias`."""


def list_studies() -> Iterator[tuple[str, SimulatedStudy]]:
    """Yields the rows of the table, each as a description of the judge and a design. Designs with a win rate near one
    half come first, then designs with a win rate near 1."""
    near_one_half = ((100, 20), (100, 50), (500, 20), (500, 50), (500, 100))
    for words, (wrong, bias) in JUDGES.items():
        for prompts, labels in near_one_half:
            yield words, SimulatedStudy(prompts, labels, wrong=wrong, bias=bias)
    near_one = ((100, 50), (500, 50), (500, 100))
    for rate in (0.9, 0.97):
        for words, (wrong, bias) in {"5% wrong": (0.05, 0.0), **JUDGES}.items():
            for prompts, labels in near_one:
                yield words, SimulatedStudy(prompts, labels, rate=rate, ties=0.0, wrong=wrong, bias=bias)


def print_table(count: int) -> None:
    """Prints a table with the coverage and the mean half width of each estimator. `count`: the number of simulated
    studies for each cell. A count of 20,000 takes some minutes."""
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
