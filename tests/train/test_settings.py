"""The budget that binds a run: what its stages used is not the run's own to spend."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import UserError
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.train.loop import open_run
from preflab.train.settings import Budget, Keeping


def test_progress_spans_what_the_stages_left(tmp_path: Path) -> None:
    """A budget of 100, 60 of it charged by stages: a run begins at 0, not at 60%, or its schedule would have no warm-up and
    most of its looks at the validation split would never come. Four steps of 10 use it up: 1/4, 1/2, 3/4, 1."""
    budget = Budget(amount=100, charged=60)
    policy = make_tiny(TinyShape(width=8, inner=8, layers=1, heads=2), seed=0)
    with open_run(tmp_path, {"spec": {}}, seed=0, budget=budget, keeping=Keeping(progress=False)) as run:
        progress = []
        for _ in run.steps(1000, {}, policy=policy, validate=None):
            progress.append(run.progress)
            run.meter.forward(1, 5)
    assert progress == [0, 0.25, 0.5, 0.75] and run.progress == 1


def test_stages_that_use_it_up_are_told() -> None:
    """Nothing left to train with is the user's mistake, said before the first step."""
    with pytest.raises(UserError, match="nothing is left to train the arm"):
        _ = Budget(amount=50, charged=60).own
