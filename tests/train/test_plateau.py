"""A run that ends when its validation score has stopped improving."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from preflab.arm.spec import Arm
from preflab.endings import Stopped
from preflab.errors import UserError
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.spec import parse_spec
from preflab.train.learner import Learner, Optim
from preflab.train.loop import open_run
from preflab.train.plateau import Ending
from preflab.train.settings import Keeping, Plateau

SMALL = TinyShape(width=8, inner=8, layers=1, heads=2)
RATE = Ending(Plateau()).schedule(Optim(warmup=0.0))


def train(
    directory: Path, score: Callable[[int], float], *, stop_after: int = 0
) -> tuple[list[int], list[float], Ending]:
    """Makes up to 100 steps with an evaluation after every fifth. Returns the steps that this call made, the factor on
    the learning rate in each, and how the run ended."""
    policy, made, factors = make_tiny(SMALL, seed=0), list[int](), list[float]()
    keeping = Keeping(progress=False, checkpoint_seconds=1e9)
    with open_run(directory, {"spec": {}}, seed=0, evaluations=20, plateau=Plateau(patience=4), keeping=keeping) as run:
        learner = Learner(policy.model, Optim(), token_budget=8, meter=run.meter)
        state = {"policy": learner}
        for step in run.steps(100, state, policy=policy, validate=lambda _: {"score": score(made[-1] + 1)}):
            made.append(step)
            learner.updates += 1
            factors.append(RATE.factor(run.progress_of_update()))
            if step + 1 == stop_after:
                run.stop_signal = signal.SIGTERM
    return made, factors, run.ending


def test_a_run_ends_after_its_plateau(tmp_path: Path) -> None:
    """The score rises until step 40. Evaluations come every 5 steps, and after four without a better score, at step 60,
    the cooldown begins. It ends at .6 / .85 = .7059 of the most, which is step 71. The middle of step i is at
    (i + .5) / 100. The rate is constant before, and in the cooldown it is (.7059 - p) / .1059."""
    made, factors, ending = train(tmp_path, lambda step: min(step, 40))
    assert made == list(range(71))
    assert (ending.cooling_from, ending.reached) == (0.6, True)
    assert factors[:60] == [pytest.approx(1.0)] * 60
    assert factors[60] == pytest.approx((0.70588 - 0.605) / 0.10588, abs=1e-3)
    assert factors[70] == pytest.approx((0.70588 - 0.705) / 0.10588, abs=1e-3)


def test_a_run_that_still_improves_cools_down_before_its_most(tmp_path: Path) -> None:
    """Each evaluation is better than the last: the cooldown is the last 15 of 100 steps, and no plateau is claimed."""
    made, factors, ending = train(tmp_path, lambda step: step)
    assert (len(made), ending.cooling_from, ending.reached) == (100, 0.85, False)
    assert factors[84] == pytest.approx(1.0) and factors[99] == pytest.approx(0.005 / 0.15)


def test_the_last_weights_are_evaluated(tmp_path: Path) -> None:
    """Protects the cooldown from being trained in vain: the run ends at step 71, between two evaluations of the grid, and
    its weights are evaluated and chosen if they are the best."""
    looks: list[int] = []

    def score(step: int) -> float:
        looks.append(step)
        return 100.0 if step == 71 else min(step, 40)

    _, _, ending = train(tmp_path, score)
    assert looks == [*range(5, 71, 5), 71]
    assert ending.stale == 0


def test_evaluations_of_the_same_weights_do_not_count() -> None:
    """Protects a run whose critic trains first: four evaluations of a policy without an update are no plateau."""
    ending = Ending(Plateau(patience=4))
    ending.note(improved=True, updates=0)
    for _ in range(4):
        ending.note(improved=False, updates=0)
    assert not ending.starts_cooldown(0.5)
    for update in range(1, 5):
        ending.note(improved=False, updates=update)
    assert ending.starts_cooldown(0.5)


def test_the_rate_falls_although_updates_were_skipped() -> None:
    """Protects the cooldown: position leaves out skipped updates, and lies .2 behind a run that is at .925. The rate is half
    of the constant rate, (1 - .925) / .15."""
    assert RATE.factor(0.725, 0.925) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"looks": 5}, "Set `looks` to 6 or more"),
        ({"looks": 6, "method": None, "policy": "x"}, "trains nothing"),
        ({"looks": 6, "method": {"kind": "pairs"}}, "trains nothing"),
    ],
)
def test_a_plateau_that_cannot_be_seen_is_refused(changes: dict[str, Any], says: str) -> None:
    """Protects from a plateau that changes the schedule and ends nothing: with patience 4, the fifth evaluation must come
    before 85% of the run, and 5 / 6 is the first share below."""
    data = {"name": "x", "testbed": "minicode", "method": "sft", "plateau": {}, "looks": 6}
    assert parse_spec(Arm, data, where="test").plateau is not None
    with pytest.raises(UserError, match=says):
        parse_spec(Arm, {**data, **changes}, where="test")


def test_a_stopped_run_goes_on_with_its_cooldown(tmp_path: Path) -> None:
    """Protects resumption: a run that is stopped within its cooldown makes the same steps at the same rates."""
    whole, rates, _ = train(tmp_path / "whole", lambda step: min(step, 40))
    for stop_after in (50, 65):
        with pytest.raises(Stopped):
            train(tmp_path / f"{stop_after}", lambda step: min(step, 40), stop_after=stop_after)
        made, factors, _ = train(tmp_path / f"{stop_after}", lambda step: min(step, 40))
        assert (made, factors) == (whole[stop_after:], rates[stop_after:])


def test_a_plateau_needs_an_evaluation(tmp_path: Path) -> None:
    """A run without a validation split would never end its constant rate: this is said before the first step."""
    with (
        pytest.raises(UserError, match="but this run has no validation score"),
        open_run(tmp_path, {"spec": {}}, seed=0, plateau=Plateau(), keeping=Keeping(progress=False)) as run,
    ):
        list(run.steps(3, {}, policy=make_tiny(SMALL, seed=0), validate=None))
