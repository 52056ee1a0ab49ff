"""RLOO: each answer against the other answers to its prompt, its whole KL in its reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.methods.rolled import SHORT, STEADY, assessed, learns, rolled, rows

from preflab.methods.rloo import RLOO, gain_over_others

SMALL = RLOO(steps=2, rollouts=8, group=2, decoding=SHORT, optim=STEADY)


def small(**fields: Any) -> RLOO:
    return RLOO.model_validate({**SMALL.model_dump(), **fields})


def test_the_kl_is_in_the_reward() -> None:
    """Scores 3 and 1; KL .1 at one token and .2 at each of two: rewards 2.9 and 1 - .4 = .6; each less the other: 2.3 and
    -2.3, at every token. What stands in the padding is not looked at."""
    answers = assessed(rolled([3, 1], group=2, lengths=[1, 2]), [[0.1, 99.0], [0.2, 0.2]])
    assert rows(gain_over_others(SMALL, answers)) == [[2.3, 0], [-2.3, -2.3]]


def test_the_first_updates_gradient_is_reinforces(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """The loss of the first mini-batch, at ratio 1: - sum of A_i |y_i| / (N limit), and the advantages of a group sum to 0:
    for answers of one length the loss is 0."""
    spec = small(mini_batches=1, steps=1, decoding=SHORT.model_copy(update={"max_new_tokens": 1}))
    assert train(spec, policy=tiny()).metrics[0]["policy/loss"] == pytest.approx(0, abs=1e-5)


def test_rloo_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing to one that writes little but numbers."""
    first, last = learns(train, tiny, small(steps=20, rollouts=48, mini_batches=4, group=4))
    assert first < 0.35 and last > 0.7
