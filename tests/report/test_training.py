"""The training curves: the thick line is a mean over seeds, whatever steps they looked at, and never one seed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.analysis.record import ArmResult, CurvePoint, Results, RunResult
from preflab.report.training import STEPS, UPDATES, Place, curves, lines_of, mean_line, metric_of, time_of


def arm(*runs: dict[int, float], diverged: Sequence[int] = (), updates: int = 0) -> ArmResult:
    """An arm whose runs looked at these steps, with these values."""
    return ArmResult(
        name="dpo-iter",
        method="dpo-iter",
        runs=tuple(
            RunResult(
                seed=seed,
                directory="d",
                diverged=seed in diverged,
                curve=tuple(
                    CurvePoint(step=step, updates=updates * step or None, metrics={"validation": value})
                    for step, value in values.items()
                ),
            )
            for seed, values in enumerate(runs)
        ),
    )


def mean_of(one: ArmResult) -> list[tuple[float, float]]:
    return mean_line([line.places for line in lines_of(one, STEPS, metric_of("validation"))])


def test_looks_at_different_steps_are_averaged_look_by_look() -> None:
    """Protects the thick line. Three seeds of DPO-Iter looked after a quarter, a half, three quarters and the end of their
    budget, at other steps each: (.28 + .255 + .26) / 3 = .265, and so on. One seed alone would be .28 .24 .36 .36."""
    one = arm(
        {14: 0.28, 29: 0.24, 45: 0.36, 60: 0.36},
        {14: 0.255, 28: 0.294, 45: 0.334, 57: 0.326},
        {15: 0.26, 30: 0.3, 46: 0.32, 62: 0.34},
    )
    line = mean_of(one)
    assert [y for _, y in line] == pytest.approx([0.265, 0.278, 0.338, 0.342])
    assert [x for x, _ in line] == pytest.approx([43 / 3, 29, 136 / 3, 179 / 3])


def test_runs_of_different_length_are_averaged_at_equal_shares() -> None:
    """Protects seeds that end at other steps: both rise along their own run as 2 x share + their level, 0 and 1, so that the
    mean is 2 x share + .5 where each is known, from a fifth of the shorter run to the end."""
    short = {step: 2 * step / 5 for step in range(1, 6)}
    long = {step: 2 * step / 9 + 1 for step in range(1, 10)}
    line = mean_of(arm(short, long))
    assert line[0][1] == pytest.approx(2 / 5 + 0.5) and line[-1] == (7.0, pytest.approx(2.5))
    assert all(y == pytest.approx(2 * (x / 7) + 0.5) for x, y in line)


def test_the_mean_ends_where_a_run_diverged() -> None:
    """Protects from a mean over the survivors: after the look at which one of three ended there is none."""
    looks = {25: 0.2, 50: 0.3, 75: 0.4, 100: 0.5}
    line = mean_of(arm(looks, looks, {25: 0.5, 50: 0.0}, diverged=[2]))
    assert line == [(25.0, pytest.approx(0.3)), (50.0, pytest.approx(0.2))]


def test_without_a_share_in_common_there_is_no_mean() -> None:
    """Protects from one seed drawn as a mean: one run has its only value at the start, the other at the end."""
    early, late = (
        [Place(0.1, 1.0, 0.2), Place(0.2, 2.0, 0.2)],
        [Place(0.9, 9.0, 0.4), Place(1.0, 10.0, 0.4), Place(1.1, 11.0, 0.4)],
    )
    assert mean_line([early, late]) == []


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=9), min_size=2, max_size=5), st.randoms())
def test_a_mean_lies_between_its_seeds_and_ignores_their_order(values: list[list[float]], random: object) -> None:
    """Protects the mean for any looks: within the range of all values, and the same whatever the order of the seeds."""
    lines = [[Place((i + 1) / len(row), float(i), y) for i, y in enumerate(row)] for row in values]
    line = mean_line(lines)
    assert line == mean_line(lines[::-1]) or [y for _, y in line] == pytest.approx(
        [y for _, y in mean_line(lines[::-1])]
    )
    ends = [y for row in values for y in row]
    assert all(min(ends) - 1e-9 <= y <= max(ends) + 1e-9 for _, y in line)


def test_the_axis_counts_what_the_table_counts(results: Results) -> None:
    """Protects PPO's axis, whose step holds several updates: it ends at 4 x 17 = 68 updates, as the table has it. A record
    without updates counts steps and says so."""
    (line,) = lines_of(arm(dict.fromkeys(range(1, 18), 0.1), updates=4), UPDATES, metric_of("validation"))
    assert line.places[-1].x == 68
    counted = results.model_copy(update={"arms": (arm({1: 0.1, 2: 0.2}, {1: 0.2, 2: 0.3}, updates=4),)})
    assert ">policy updates<" in curves(counted)[0] and "against policy updates" in curves(counted)[0]
    assert time_of([point for one in results.arms for run in one.runs for point in run.curve]) is STEPS


def test_every_curve_says_its_temperature(results: Results) -> None:
    """Protects the reader from comparing values of different temperatures."""
    drawn = curves(results)
    assert len(drawn) >= 4
    for svg in drawn:
        assert re.search(r">[^<]*temperature[^<]*<", svg)
    assert ">validation problems, temperature 1<" in drawn[0]
