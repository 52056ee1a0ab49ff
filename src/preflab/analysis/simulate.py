"""Simulates studies with known true differences, and counts how often the intervals contain the true differences.

All arms answer the same problems. An answer is correct with probability

    sigmoid(level[arm] + difficulty[p] + taste[arm, p] + run[arm, s] + chance[arm, s, p])

and a cell of the table is the share of correct answers among `samples` answers. `run` is the seed effect, which shifts
all answers of one training run (one arm with one seed). By default, all random terms are normal. Their sum is then normal
too, so an arm's true mean is a one-dimensional integral, which is computed numerically.
`python -m preflab.analysis.simulate` computes the tables of docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import special

from preflab.analysis.intervals import Floats, analyse, exact_ends, half_width
from preflab.analysis.statistics import LOOK_SHARES

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Design:
    """The design of a simulated study. `seed_sd`: each arm's standard deviation (SD) between runs, on the scale of the
    mean score. `tails`: the degrees of freedom of the t distribution of the seed effects, or None for normal seed
    effects. With a t distribution, a true difference is known only if the two arms have equal levels. It is then 0."""

    seeds: int
    problems: int
    samples: int = 5
    seed_sd: tuple[float, ...] = (0.0, 0.0)
    levels: tuple[float, ...] = (0.0, 0.0)
    difficulty_sd: float = 1.5
    taste_sd: float = 0.7
    chance_sd: float = 0.5
    tails: float | None = None

    @classmethod
    def pair(cls, seeds: int, problems: int, seed_sd: float, levels: tuple[float, float] = (0.0, 0.0)) -> Design:
        """Returns a design with two arms. `seed_sd`: the SD of the seed effects in the *difference* of the two arms."""
        return cls(seeds, problems, seed_sd=(seed_sd / np.sqrt(2),) * 2, levels=levels)

    @property
    def fixed_variance(self) -> float:
        return self.difficulty_sd**2 + self.taste_sd**2 + self.chance_sd**2

    def run_sd(self) -> Floats:
        """Returns the SD of each arm's seed effects on the logit scale (inside the sigmoid), [A]. This is `seed_sd`
        divided by the slope of the mean score."""
        slopes = [
            _gauss_mean(lambda x: special.expit(x) * special.expit(-x), m, self.fixed_variance) for m in self.levels
        ]
        return np.asarray(self.seed_sd) / np.asarray(slopes)

    def truth(self) -> Floats:
        """Returns the arms' true means over all possible runs and problems, [A]."""
        variances = self.fixed_variance + self.run_sd() ** 2
        return np.array([_gauss_mean(special.expit, m, v) for m, v in zip(self.levels, variances, strict=True)])


def _gauss_mean(f: Callable[[Floats], Floats], mean: float, variance: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights * f(mean + np.sqrt(variance) * nodes)).sum() / weights.sum())


def studies(design: Design, count: int, rng: np.random.Generator, chunk: int = 100) -> Iterator[Floats]:
    """Simulates `count` studies. Yields arrays [n, A, S, P] of scores in [0, 1] for n studies, A arms, S seeds and P
    problems. To limit the memory, n is at most `chunk`."""
    arms, run_sd = len(design.levels), design.run_sd()[:, None, None]
    for start in range(0, count, chunk):
        n = min(chunk, count - start)
        logits = rng.normal(size=(n, arms, design.seeds, design.problems)) * design.chance_sd
        logits += rng.normal(size=(n, 1, 1, design.problems)) * design.difficulty_sd
        logits += rng.normal(size=(n, arms, 1, design.problems)) * design.taste_sd
        logits += seed_effects(design, (n, arms, design.seeds, 1), rng) * run_sd
        logits += np.asarray(design.levels)[:, None, None]
        yield rng.binomial(design.samples, special.expit(logits)) / design.samples


def misses(design: Design, pairs: Sequence[tuple[int, int]], count: int, alpha: float) -> Bools:
    """Returns booleans [count, pairs], one for each study and each pair (a, b) of arms. A boolean is True if the
    interval for arm a minus arm b does not contain the true difference."""
    truth, (first, second) = design.truth(), np.array(pairs).T
    out: list[Bools] = []
    for scores in studies(design, count, np.random.default_rng(0)):
        table = analyse(scores[:, first] - scores[:, second])
        out.append(np.abs(table.mean - (truth[first] - truth[second])) > half_width(table, alpha, len(pairs)))
    return np.concatenate(out)


def coverage(design: Design, count: int, *, alpha: float = 0.05) -> float:
    """Returns the share of studies in which the interval of `statistics.compare_scores` for arm 0 minus arm 1 contains
    the true difference."""
    return 1 - float(misses(design, [(0, 1)], count, alpha).mean())


def false_wins(design: Design, pairs: Sequence[tuple[int, int]], count: int, *, alpha: float = 0.05) -> float:
    """Returns the family-wise error of `statistics.compare_all`: the share of studies in which *at least one* interval
    does not contain its true difference."""
    return float(misses(design, pairs, count, alpha).any(axis=1).mean())


def wrong_winners(design: Design, count: int, *, alpha: float = 0.05) -> float:
    """Returns the share of studies in which `statistics.find_winner` declares a wrong winner. A winner is wrong if the
    true mean of another arm is equal or higher."""
    truth, arms = design.truth(), len(design.levels)
    alone = np.array([(truth[i] > np.delete(truth, i) + 1e-12).all() for i in range(arms)])
    wrong = 0
    for scores in studies(design, count, np.random.default_rng(0)):
        leader = scores.mean(axis=(-2, -1)).argmax(axis=1)
        leading = np.take_along_axis(scores, leader[:, None, None, None], axis=1)
        others = scores[np.arange(arms) != leader[:, None]].reshape(len(scores), arms - 1, *scores.shape[2:])
        table = analyse(leading - others)
        declared = (table.mean > half_width(table, alpha, arms / 2)).all(axis=1)
        wrong += int((declared & ~alone[leader]).sum())
    return wrong / count


def seed_effects(design: Design, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draws seed effects with mean 0 and SD 1."""
    if design.tails is None:
        return rng.normal(size=shape)
    return rng.standard_t(design.tails, size=shape) * np.sqrt((design.tails - 2) / design.tails)


def error_over_looks(design: Design, looks: Sequence[tuple[int, float]], count: int, *, alpha: float = 0.05) -> float:
    """Simulates studies of two equal arms that look at their results several times. Returns the share of studies in which
    the interval of the difference does not contain 0 at one or more of the looks. `looks`: for each look, the number of
    seeds, and the factor by which the sizes of all families are multiplied (`study.looks.Look`)."""
    missed = 0
    for scores in studies(design, count, np.random.default_rng(0)):
        difference = scores[:, 0] - scores[:, 1]
        at_looks = [~covered(difference[:, :seeds], 0.0, alpha, times) for seeds, times in looks]
        missed += int(np.any(at_looks, axis=0).sum())
    return missed / count


def print_looks(count: int) -> None:
    """Prints the share of studies with a false difference, for studies that look at their results after 5, 8 and 12
    seeds."""
    looks = [(seeds, 1 / share) for seeds, share in zip((5, 8, 12), LOOK_SHARES[3], strict=True)]
    print(f"\nA false difference of two equal arms at any look, 300 problems, {count} studies a cell")
    print("| seed SD of an arm | normal seed effects | t(3) |\n|---|---|---|")
    for sd in (0.0, 0.02, 0.05):
        designs = (Design(12, 300, seed_sd=(sd, sd), tails=tails) for tails in (None, 3.0))
        print(f"| {sd:g} |" + "".join(f" {error_over_looks(each, looks, count):.3f} |" for each in designs), flush=True)


def collapse_coverage(
    design: Design, *, rate: float, depth: float, count: int, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Returns the coverage of three intervals of one arm: for the mean of all runs, for the mean of the runs that did
    not collapse, and for the rate of collapse.

    With probability `rate`, a simulated run fails: all its scores are multiplied by 1 - `depth`. As in the reports, a
    run counts as collapsed if its mean is below half of the mean of its starting policy. The simulated starting policy
    is as good as a run that did not fail. `depth` must be far above one half, so that the failed runs count as
    collapsed. The coverage for the mean of the runs that did not collapse is computed only over studies with at least
    two such runs, because the other studies give no interval for this mean."""
    truth, rng = float(design.truth()[0]), np.random.default_rng(0)
    plain, given, given_of, rates = 0, 0, 0, 0
    for scores in studies(design, count, rng):
        fallen = rng.random((len(scores), design.seeds)) < rate
        cells = scores[:, 0] * np.where(fallen, 1 - depth, 1.0)[:, :, None]
        plain += int(covered(cells, truth * (1 - rate * depth), alpha).sum())
        for row, down in zip(cells, cells.mean(axis=-1) < truth / 2, strict=True):
            low, high = exact_ends(float(down.mean()), design.seeds, alpha)
            rates += low <= rate <= high
            if (~down).sum() >= 2:
                given += int(covered(row[~down][None], truth, alpha)[0])
                given_of += 1
    return plain / count, given / max(1, given_of), rates / count


def print_collapse(count: int) -> None:
    """Prints the coverage of the three intervals of `collapse_coverage`, for several rates and depths of collapse."""
    print(f"\nCoverage if runs collapse, 300 problems, {count} studies a cell")
    print("| seeds | rate | depth | plain mean | mean of the others | rate |\n|---|---|---|---|---|---|")
    for seeds, rate, depth in product((5, 10), (0.1, 0.3), (0.7, 0.9)):
        design = Design(seeds, 300, seed_sd=(0.02,), levels=(0.0,))
        cells = collapse_coverage(design, rate=rate, depth=depth, count=count)
        print(f"| {seeds} | {rate:g} | {depth:g} |" + "".join(f" {cell:.3f} |" for cell in cells), flush=True)


def covered(cells: Floats, truth: float, alpha: float, family: float = 1.0) -> Bools:
    """Returns one boolean for each of the tables `cells` [n, S, P]. The boolean is True if the interval of the table's
    mean contains `truth`."""
    table = analyse(cells)
    return np.abs(table.mean - truth) <= half_width(table, alpha, family)


def print_tables(count: int = 20_000) -> None:
    """Prints the tables of docs/statistics.md. This takes about ten minutes."""
    spreads = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.14)
    print(f"Coverage of a nominal .95 interval, {count} studies a cell")
    print("| problems | seeds |" + "".join(f" {sd:g} |" for sd in spreads) + "\n|" + "---|" * (len(spreads) + 2))
    for problems, seeds in product((100, 300), (2, 3, 5, 10)):
        cells = (coverage(Design.pair(seeds, problems, sd), count) for sd in spreads)
        print(f"| {problems} | {seeds} |" + "".join(f" {cell:.3f} |" for cell in cells), flush=True)
    print(f"\nStudies of 7 arms with a false claim, 100 problems, {count // 2} studies a cell")
    print("| seeds | seed SD of an arm | six against one | every pair | winner, two tied |\n|---|---|---|---|---|")
    for seeds, sd in product((3, 5, 10), (0.0, 0.02, 0.05, 0.1)):
        design = Design(seeds, 100, seed_sd=(sd,) * 7, levels=(0.0,) * 7)
        families = [[(i, 0) for i in range(1, 7)], list(combinations(range(7), 2))]
        rates = [false_wins(design, family, count // 2) for family in families]
        two_best = Design(seeds, 100, seed_sd=(sd,) * 7, levels=(1.0, 1.0) + (-3.0,) * 5)
        rates.append(wrong_winners(two_best, count // 2))
        print(f"| {seeds} | {sd:g} |" + "".join(f" {rate:.3f} |" for rate in rates), flush=True)
    print_collapse(count)
    print_looks(count)


if __name__ == "__main__":
    print_tables()
