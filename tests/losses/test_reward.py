"""The reward model's loss against a number worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.losses.reward import bradley_terry_loss


def test_bradley_terry() -> None:
    """Protects the formula: scores 1.5 and .5: ln(1 + e^-1) = .313262; equal scores: ln 2; wrong by 500: 500, finite."""
    found = bradley_terry_loss(torch.tensor([1.5, 2.0, -250.0]), torch.tensor([0.5, 2.0, 250.0]))
    assert found.tolist() == pytest.approx([0.313262, math.log(2), 500.0], abs=1e-6)


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
