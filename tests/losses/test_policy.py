"""Losses on a policy's own tokens, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.losses.policy import ppo_policy_loss, ppo_value_loss, sft_loss, truncated_importance


def test_sft() -> None:
    """Protects the sign: a token of probability 1/4 costs ln 4."""
    assert sft_loss(torch.tensor([[0.25]]).log()).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.5, 1.0, -1.2, 0.0),  # good and already much likelier: clipped at 1.2
        (1.5, -1.0, 1.5, 1.5),  # bad and likelier: the worse of 1.5 and 1.2
        (0.5, 1.0, -0.5, -0.5),  # good and rarer: the worse of -.5 and -.8
        (0.5, -1.0, 0.8, 0.0),  # bad and already much rarer: clipped at .8
        (1.0, 2.0, -2.0, -2.0),  # at the old policy: the policy gradient
    ],
)
def test_ppo_policy(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    """Protects the clip at .2: max(-A rho, -A clamp(rho)), whose gradient by log pi is -A rho, or 0 where clipped."""
    logprobs = torch.tensor([[math.log(ratio) - 3]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-3.0]], dtype=torch.float64)
    losses = ppo_policy_loss(logprobs, old, torch.tensor([[advantage]], dtype=torch.float64), clip=0.2)
    losses.sum().backward()
    assert logprobs.grad is not None
    assert losses.item() == pytest.approx(loss)
    assert logprobs.grad.item() == pytest.approx(gradient)


@pytest.mark.parametrize(
    ("value", "clip", "loss", "gradient"),
    [
        (1.0, 0.2, 0.845, 0.0),  # moved .5 towards the return: clipped to .7, (.7 - 2)^2 / 2 is the worse
        (0.6, 0.2, 0.98, -1.4),  # moved .1: (.6 - 2)^2 / 2
        (-1.0, 0.2, 4.5, -3.0),  # moved away: (-1 - 2)^2 / 2, unclipped
        (1.0, None, 0.5, -1.0),  # no clip: (1 - 2)^2 / 2
    ],
)
def test_ppo_value(value: float, clip: float | None, loss: float, gradient: float) -> None:
    """Protects value clipping, with V_old = .5 and R = 2."""
    values = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    old, returns = torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64)
    losses = ppo_value_loss(values, old, returns, clip=clip)
    losses.sum().backward()
    assert values.grad is not None
    assert losses.item() == pytest.approx(loss)
    assert values.grad.item() == pytest.approx(gradient)


def test_truncated_importance() -> None:
    """Protects the direction of the ratio and the cap: .3 / .2 = 1.5; .1 / .4 = .25; .9 / .1 = 9 is cut to 2. The weight
    has no gradient."""
    old = torch.tensor([[0.3, 0.1, 0.9]]).log().requires_grad_()
    weights = truncated_importance(old, torch.tensor([[0.2, 0.4, 0.1]]).log(), cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[1.5, 0.25, 2.0]]))
    assert not weights.requires_grad
