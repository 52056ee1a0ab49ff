"""The reward model's loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preflab.losses.reward import bradley_terry_loss, cost_model_loss, length_covariate


def test_bradley_terry() -> None:
    """Protects the formula: scores 1.5 and .5: ln(1 + e^-1) = .313262; equal scores: ln 2; wrong by 500: 500, finite."""
    losses = bradley_terry_loss(torch.tensor([1.5, 2.0, -250.0]), torch.tensor([0.5, 2.0, 250.0]))
    assert losses.tolist() == pytest.approx([0.313262, math.log(2), 500.0], abs=1e-6)


def test_only_the_difference_counts() -> None:
    """Protects the model's freedom of a constant: shifting both scores changes neither loss nor gradient."""
    gradients = []
    for shift in (0.0, 3.0):
        scores = torch.tensor([1.0 + shift, -0.5 + shift], dtype=torch.float64, requires_grad=True)
        bradley_terry_loss(scores[:1], scores[1:]).sum().backward()
        assert scores.grad is not None
        gradients.append(scores.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0][0] < 0 < gradients[0][1]


def test_margin() -> None:
    """Protects Touvron et al.'s margin: a difference of 1 at a margin of 1.5 counts as -.5: ln(1 + e^.5) = .974077."""
    losses = bradley_terry_loss(torch.tensor([1.0]), torch.tensor([0.0]), shift=-torch.tensor([1.5]))
    assert losses.item() == pytest.approx(0.974077, abs=1e-6)


def test_soft_labels_and_smoothing() -> None:
    """Protects the mixture of both orders. Difference 1: ln(1+e^-1) = .313262 if right, 1.313262 if wrong.

    p = .75: .75 * .313262 + .25 * 1.313262 = .563262. p = 1, e = .1: .413262. p = .75, e = .1: q = .9 * .75 + .1 * .25 = .7:
    .613262. p = 0: the wrong order's own loss.
    """
    one, zero = torch.ones(1), torch.zeros(1)
    for probability, smoothing, expected in (
        (0.75, 0.0, 0.563262),
        (None, 0.1, 0.413262),
        (0.75, 0.1, 0.613262),
        (0.0, 0.0, 1.313262),
    ):
        stated = None if probability is None else torch.tensor([probability])
        losses = bradley_terry_loss(one, zero, probability=stated, smoothing=smoothing)
        assert losses.item() == pytest.approx(expected, abs=1e-6)


def test_cost_model() -> None:
    """Protects L_C of Dai et al. 2024. The safer answer costs -1, the harmful one 2: order ln(1 + e^-3) = .048587.

    A safe and an unsafe answer: signs ln(1 + e^-2) + ln(1 + e^-1) = .126928 + .313262. Both unsafe: ln(1 + e^-2) +
    ln(1 + e^1) = .126928 + 1.313262. Both safe: ln(1 + e^2) + ln(1 + e^-1) = 2.126928 + .313262.
    """
    safer, harmful = torch.full((3,), -1.0), torch.full((3,), 2.0)
    signs = {"safer_sign": torch.tensor([-1.0, 1.0, -1.0]), "harmful_sign": torch.tensor([1.0, 1.0, -1.0])}
    losses = cost_model_loss(safer, harmful, **signs)
    assert losses.tolist() == pytest.approx([0.488777, 1.488777, 2.488777], abs=1e-6)


def test_the_sign_of_a_cost_separates() -> None:
    """Protects the boundary: unlike a reward, a cost has no free constant. At costs of 0 the order pulls harmful up and
    safer down by 1/2 each, and the signs pull by another 1/2: of two unsafe answers the safer one stays where it is."""
    costs = torch.zeros(2, 2, requires_grad=True)
    unsafe, safe = torch.ones(2), torch.tensor([1.0, -1.0])
    cost_model_loss(costs[:, 0], costs[:, 1], safer_sign=safe, harmful_sign=unsafe).sum().backward()
    assert costs.grad is not None and costs.grad.tolist() == [[0.0, -1.0], [1.0, -1.0]]


@given(st.floats(0.05, 0.95), st.floats(0, 0.4), st.floats(-2, 2))
def test_the_minimum_is_where_the_labels_say(probability: float, smoothing: float, shift: float) -> None:
    """Protects calibration: at r_w - r_l + shift = log(q / (1 - q)) the gradient is 0, and it is sigmoid(z) - q elsewhere."""
    stated = torch.tensor([probability], dtype=torch.float64)
    q = (1 - smoothing) * probability + smoothing * (1 - probability)
    for away in (0.0, 1.0):
        z = math.log(q / (1 - q)) + away
        chosen = torch.tensor([z - shift], dtype=torch.float64, requires_grad=True)
        moved = torch.tensor([shift], dtype=torch.float64)
        bradley_terry_loss(
            chosen, torch.zeros(1), shift=moved, probability=stated, smoothing=smoothing
        ).sum().backward()
        assert chosen.grad is not None
        assert chosen.grad.item() == pytest.approx(1 / (1 + math.exp(-z)) - q, abs=1e-9)


def test_length_covariate() -> None:
    """Protects the sign and the unit: 30 against 10 tokens at a spread of 20 is tanh(1) = .761594; swapped, its negative."""
    long, short = torch.tensor([30]), torch.tensor([10])
    assert length_covariate(long, short, 20.0).item() == pytest.approx(0.761594, abs=1e-6)
    assert length_covariate(short, long, 20.0).item() == pytest.approx(-0.761594, abs=1e-6)
