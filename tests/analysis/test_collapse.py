"""Collapse: which runs collapsed, how often, how good the others are, and how far the intervals can be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from preflab.analysis.collapse import collapse_rule, collapsed_seeds, measure_collapse
from preflab.analysis.record import DecodingChoice, known_measure
from preflab.analysis.scores import Scores
from preflab.analysis.simulate import Design, collapse_coverage


def arm(*means: float, diverged: tuple[int, ...] = ()) -> Scores:
    """One seed for each mean, on 40 problems whose scores differ a little."""
    offsets = np.linspace(-0.05, 0.05, 40)
    names = tuple(f"p{i}" for i in range(40))
    return Scores(np.array([mean + offsets for mean in means]), tuple(range(len(means))), names, diverged)


def test_a_run_below_half_of_its_start_has_collapsed() -> None:
    """A start at .4 and a share of .5 put the floor at .2: of .5, .5, .1, .5 and .21, the run at .1 collapsed alone. The start
    counts seed by seed: with a start of .1 under seed 2, nothing collapsed."""
    runs = arm(0.5, 0.5, 0.1, 0.5, 0.21)
    assert collapsed_seeds(runs, [arm(0.4, 0.4, 0.4, 0.4, 0.4)], 0.5) == (2,)
    assert collapsed_seeds(runs, [arm(0.4, 0.4, 0.1, 0.4, 0.4)], 0.5) == ()


def test_of_several_starts_the_lowest_counts() -> None:
    """Protects an arm with two possible starts from the higher floor."""
    assert collapsed_seeds(arm(0.3, 0.3), [arm(0.8, 0.8), arm(0.5, 0.5)], 0.5) == ()


def test_a_diverged_run_has_collapsed_without_a_start() -> None:
    """Protects scores without a zero, where no share of a start is known: only a diverged run has collapsed."""
    assert collapsed_seeds(arm(0.5, 0.0, 0.5, diverged=(1,)), [], 0.5) == (1,)
    assert collapse_rule(0.5, known_measure("reward")) == "A run has collapsed if it diverged."
    assert "pass@1 at temperature 1 is below 50%" in collapse_rule(0.5, known_measure("pass@1"))


def test_rate_and_mean_are_apart() -> None:
    """One of five runs: Clopper and Pearson give 1 - .975^(1/5) = .005 to .716. The mean of the others is that of .5, .5, .6
    and .4, at each decoding."""
    tables = {"chosen": arm(0.5, 0.5, 0.1, 0.6, 0.4), "unit": arm(0.3, 0.3, 0.0, 0.3, 0.3)}
    collapse = measure_collapse(
        range(5), (2,), {"chosen": tables["chosen"], "unit": tables["unit"]}, known_measure("pass@1"), compared=True
    )
    assert collapse.seeds == (2,)
    assert collapse.rate.estimate == pytest.approx(0.2)
    assert (collapse.rate.low, collapse.rate.high) == (
        pytest.approx(0.00505, abs=1e-5),
        pytest.approx(0.7164, abs=1e-4),
    )
    assert [collapse.means[name].estimate for name in ("chosen", "unit")] == [pytest.approx(0.5), pytest.approx(0.3)]
    assert collapse.means["chosen"].seeds == 4


def test_where_all_collapsed_no_mean_is_left() -> None:
    """Protects from a mean over nothing."""
    tables: dict[DecodingChoice, Scores] = {"chosen": arm(0.0, 0.0), "unit": arm(0.0, 0.0)}
    collapse = measure_collapse(range(2), (0, 1), tables, known_measure("pass@1"), compared=True)
    assert measure_collapse(range(2), (0, 1), {}, known_measure("reward"), compared=False).means == {}
    assert collapse.means == {} and collapse.rate.estimate == 1.0 and collapse.rate.high == 1.0


def test_what_is_said_apart_covers_and_the_plain_mean_does_not() -> None:
    """Protects the reason for both: at a rate of .1 and a depth of .9, ten seeds, the plain mean covers far below 95%, while
    the mean given no collapse and the rate cover at least 93% (1,000 studies: a standard error below .01)."""
    plain, given, rate = collapse_coverage(
        Design(10, 100, seed_sd=(0.02,), levels=(0.0,)), rate=0.1, depth=0.9, count=1000
    )
    assert plain < 0.9
    assert given > 0.92 and rate > 0.93
