"""The tuning stage: which settings it chooses, by how much, and how it goes beyond the edge of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.written import written

from preflab.arm.planned import Planned, PlannedRun
from preflab.errors import UserError
from preflab.spec import parse_spec
from preflab.study.directory import claim_study
from preflab.study.plan import planned_trials
from preflab.study.run import run_trials
from preflab.study.spec import Study
from preflab.study.tuning import (
    Edge,
    choices_within_noise,
    choose_settings,
    extended_settings,
    trial_score,
    value_beyond,
    with_chosen_settings,
)
from preflab.train.directory import RESULT
from preflab.train.sealed import write_sealed

RATE = "optim.learning_rate"


def study(seeds: Sequence[int] = (1000,), rates: Sequence[float] = (1e-4, 3e-4, 1e-3)) -> Study:
    data = {
        "name": "x",
        "testbed": "minicode",
        "arms": {"a": {"method": "ppo", "reward": "tests"}, "b": {"method": "dpo"}},
        "tuning": {"seeds": seeds, "spaces": {"a": {RATE: rates}}},
    }
    return parse_spec(Study, data, where="test")


def finish(directory: Path, scores: Mapping[str, float] | None) -> None:
    """Writes the result of a trial that has these scores by problem; None for a trial that diverged."""
    result = written(diverged="The loss is nan.")
    if scores is not None:
        mean = sum(scores.values()) / len(scores)
        evaluation = {"temperature": 0.0, "validation": {"1.0": mean}, "validation_by_problem": scores}
        result = written(evaluation=evaluation)
    directory.mkdir(parents=True, exist_ok=True)
    write_sealed(directory / RESULT, result)


@pytest.mark.parametrize(
    ("tried", "is_largest", "value"),
    [
        ((1e-4, 3e-4, 1e-3), True, 3e-3),  # the ratio before the last: 3e-4 / 1e-4 = 3
        ((1e-4, 3e-4, 1e-3), False, 3e-5),  # downwards: 3e-4 / 1e-3 = .3
        ((0.05, 0.1, 0.2), True, 0.4),
        ((1e-3, 4e-3), True, 16e-3),
        ((0.0, 0.1, 0.2), True, 0.3),  # a grid with 0 continues by its last difference
        ((0.0, 0.1, 0.2), False, -0.1),  # the method refuses this one
        ((0.1, 0.2, 0.3), True, 0.4),  # even differences
    ],
)
def test_a_grid_continues_by_its_own_steps(tried: tuple[float, ...], is_largest: bool, value: float) -> None:
    """Protects the extension of a grid: it keeps the grid's own spacing."""
    assert value_beyond(Edge("a", "x", tried, is_largest)) == value


def test_whole_numbers_are_not_extended(tmp_path: Path) -> None:
    """Protects a study from a trial that asks for more rows than the data have: the best of 1 and 2 epochs is the larger,
    and nothing beyond is tried."""
    data = {"seeds": (1000,), "spaces": {"b": {"epochs": [1, 2]}}}
    whole = parse_spec(Study, {**study().model_dump(), "tuning": data}, where="test")
    trials = list(planned_trials(whole, tmp_path))
    for _, settings, planned in trials:
        finish(planned.directory, {"p": settings["epochs"], "q": 0.0})
    assert list(extended_settings(whole, choose_settings(whole, trials))) == []


def test_trials_are_compared_on_the_same_problems(tmp_path: Path) -> None:
    """Protects the noise of a choice. Over two seeds, the best settings are ahead by (.5 + 1)/2, (.5 + 0)/2 and
    (.5 - .5)/2 on three problems: .75, .25 and 0. The mean is 1/3. The variance is ((5/12)^2 + (1/12)^2 + (1/3)^2) / 2 =
    .1458, and the standard error is sqrt(.1458 / 3) = .2205."""
    whole = study(seeds=[1000, 1001], rates=(1e-4, 3e-4))
    trials = list(planned_trials(whole, tmp_path))
    rows = {
        (1e-4, 1000): {"p": 0.0, "q": 0.0, "r": 0.0},
        (1e-4, 1001): {"p": 0.0, "q": 0.5, "r": 0.5},
        (3e-4, 1000): {"p": 0.5, "q": 0.5, "r": 0.5},
        (3e-4, 1001): {"p": 1.0, "q": 0.5, "r": 0.0},
    }
    for _, settings, planned in trials:
        finish(planned.directory, rows[settings[RATE], planned.seed])
    records = choose_settings(whole, trials)
    assert [trial.chosen for trial in records if trial.settings[RATE] == 3e-4] == [True, True]
    behind = [(trial.behind, trial.behind_error) for trial in records if trial.settings[RATE] == 1e-4]
    assert behind == [(pytest.approx(1 / 3), pytest.approx(0.2205, abs=1e-4))] * 2
    chosen = with_chosen_settings(whole, records)
    assert chosen.tuning is not None
    assert list(choices_within_noise(chosen.tuning)) == ["a: 1 of 1 other settings"]


def test_a_trial_that_diverged_is_not_compared(tmp_path: Path) -> None:
    """Protects the table of trials: settings that diverged under one seed are never chosen and have no difference."""
    whole = study(rates=(1e-4, 3e-4))
    trials = list(planned_trials(whole, tmp_path))
    for _, settings, planned in trials:
        finish(planned.directory, None if settings[RATE] == 3e-4 else {"p": 0.0, "q": 0.5})
    records = {trial.settings[RATE]: trial for trial in choose_settings(whole, trials)}
    assert records[1e-4].chosen
    assert (records[3e-4].score, records[3e-4].behind) == (None, None)


@pytest.mark.parametrize(("best", "tried"), [(3e-4, 3), (1e-3, 4), (3e-3, 4)])
def test_a_grid_is_extended_once(best: float, tried: int, tmp_path: Path) -> None:
    """Protects the search from stopping too early and from going on for ever. The score falls with the distance from
    `best`. An optimum inside the grid adds no trial; at the edge it adds one, even if that one is the best."""

    def pretend(planned: Sequence[Planned]) -> dict[Path, str]:
        for each in planned:
            assert isinstance(each, PlannedRun)
            distance = abs(math.log(each.spec.method.optim.learning_rate / best))
            finish(each.directory, {"p": -distance, "q": -distance})
        return {}

    whole = study()
    claim_study(whole, tmp_path, [])
    records = run_trials(whole, tmp_path, pretend)
    assert len(records) == tried
    (chosen,) = [trial for trial in records if trial.chosen]
    assert chosen.settings[RATE] == best


def test_a_trial_without_scores_is_named(tmp_path: Path) -> None:
    """Protects from a traceback where a finished trial lacks what decides: the file is named."""
    trial = next(planned for _, _, planned in planned_trials(study(), tmp_path) if planned.spec.measure == "validation")
    trial.directory.mkdir(parents=True)
    write_sealed(trial.result_file, written(evaluation={"temperature": 0.0}))
    with pytest.raises(UserError, match=r"result\.json is damaged: the scores on the validation split are missing"):
        trial_score(trial)
