"""The budget that binds a run: what its stages used is not the run's own to spend."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.train.learner import Optim
from preflab.train.loop import Run, open_run
from preflab.train.settings import Budget, Keeping

SMALL = TinyShape(width=8, inner=8, layers=1, heads=2)


def test_progress_spans_what_the_stages_left(tmp_path: Path) -> None:
    """A budget of 100, 60 of it charged by stages: a run begins at 0, not at 60%, or its schedule would have no warm-up and
    most of its looks at the validation split would never come. Four steps of 10 use it up: 1/4, 1/2, 3/4, 1."""
    budget = Budget(amount=100, charged=60)
    policy = make_tiny(SMALL, seed=0)
    with opened(tmp_path, budget) as run:
        progress = []
        for _ in run.steps(1000, {}, policy=policy, validate=None):
            progress.append(run.progress)
            run.meter.forward(1, 5)
    assert progress == [0, 0.25, 0.5, 0.75] and run.progress == 1


def opened(directory: Path, budget: Budget | None = None) -> AbstractContextManager[Run]:
    return open_run(directory, {"spec": {}}, seed=0, budget=budget, keeping=Keeping(progress=False))


def places_of(directory: Path, *, steps: int, updates: int) -> list[float]:
    """The places in the schedule of all updates of a run."""
    policy = make_tiny(SMALL, seed=0)
    with opened(directory) as run:
        return [
            run.progress_of_update(update, updates)
            for _ in run.steps(steps, {}, policy=policy, validate=None)
            for update in range(updates)
        ]


def test_the_schedule_counts_the_updates_of_a_step(tmp_path: Path) -> None:
    """Protects the first step from waiting at 0: two steps of two updates are at 1/8, 3/8, 5/8 and 7/8 of the run."""
    assert places_of(tmp_path, steps=2, updates=2) == [1 / 8, 3 / 8, 5 / 8, 7 / 8]


@pytest.mark.parametrize(("steps", "updates"), [(1, 1), (3, 1), (16, 4)])
def test_the_mean_rate_does_not_depend_on_the_number_of_updates(steps: int, updates: int, tmp_path: Path) -> None:
    """Protects large batches, which make few updates, from a lower mean rate. For n updates of a linear schedule, the mean
    factor is the sum over i < n of 1 - (i + 1/2) / n, divided by n: 1/2 for each n."""
    factors = [
        Optim(schedule="linear", warmup=0.0).factor(place)
        for place in places_of(tmp_path, steps=steps, updates=updates)
    ]
    assert sum(factors) / len(factors) == pytest.approx(1 / 2)


def test_the_schedule_of_a_compute_budget_counts_the_compute_within_a_step(tmp_path: Path) -> None:
    """A step of a run with 100 FLOP: after 10 FLOP of sampling, the first update is at 1/10 and not at 0; after 30 more, the
    second update is at 4/10."""
    with opened(tmp_path, Budget(amount=100)) as run:
        for _ in run.steps(1000, {}, policy=make_tiny(SMALL, seed=0), validate=None):
            run.meter.forward(1, 5)
            first = run.progress_of_update(0, 2)
            run.meter.trained(1, 5)
            assert (first, run.progress_of_update(1, 2)) == (pytest.approx(0.1), pytest.approx(0.4))
            break


def test_stages_that_use_it_up_are_told() -> None:
    """Nothing left to train with is the user's mistake, said before the first step."""
    with pytest.raises(UserError, match="nothing is left to train the arm"):
        _ = Budget(amount=50, charged=60).own
