"""REINFORCE++: token-level KL in the reward, returns from each token on, normalised over the whole rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.methods.rolled import SHORT, STEADY, assessed, learns, rolled, rows

from preflab.errors import UserError
from preflab.methods import METHODS
from preflab.methods.reinforce_pp import ReinforcePP, normalise_returns

SMALL = ReinforcePP(steps=2, rollouts=8, decoding=SHORT, optim=STEADY)


def small(**fields: Any) -> ReinforcePP:
    return ReinforcePP.model_validate({**SMALL.model_dump(), **fields})


def test_returns_are_normalised_over_all_tokens() -> None:
    """Scores 3 and 0, one and two tokens; KL 1 at each token of the second: rewards 3 | -1, 0 - 1; returns 3 | -2, -1.
    Mean 0, variance (9 + 4 + 1) / 3 = 4.6667, std 2.1602: 1.3887 | -.9258, -.4629."""
    answers = assessed(rolled([3, 0], lengths=[1, 2]), [[0.0, 99.0], [1.0, 1.0]])
    assert rows(normalise_returns(SMALL, answers)) == [[1.3887, 0], [-0.9258, -0.4629]]


def test_the_groups_mean_first() -> None:
    """Groups 8, 10 and 0, 2, one token each: -1, 1, -1, 1, of mean 0 and std 1; without it the first group is all good. A
    group of one has nothing to compare with."""
    rollout = rolled([8, 10, 0, 2], group=2, lengths=[1, 1, 1, 1])
    advantages = normalise_returns(small(group=2, group_baseline=True), assessed(rollout))
    torch.testing.assert_close(advantages, torch.tensor([[-1.0], [1], [-1], [1]]))
    assert normalise_returns(small(group=2), assessed(rollout))[0, 0] > 0
    with pytest.raises(UserError, match="Set `group` to 2 or more"):
        METHODS.parse({"kind": "reinforce++", "group_baseline": True})


def test_reinforce_pp_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing to one that writes little but numbers; with the group's mean as well."""
    for fields in ({}, {"group": 4, "group_baseline": True}):
        first, last = learns(train, tiny, small(steps=20, rollouts=48, mini_batches=4, **fields))
        assert first < 0.35 and last > 0.7
