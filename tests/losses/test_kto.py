"""KTO's loss and reference point: golden values, gradients, extremes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preflab.losses.kto import kto_loss, kto_reference_point

GOOD_AND_BAD = torch.tensor([True, False])


def test_golden() -> None:
    """Protects the formula: beta .5, z0 = 1, r = 3 for both: beta (r - z0) = 1. Good: 1.2 x (1 - sigmoid(1)) = 1.2 x .268941 =
    .322730; bad: .7 x (1 - sigmoid(-1)) = .7 x .731059 = .511741."""
    losses = kto_loss(
        torch.tensor([3.0, 3.0]),
        GOOD_AND_BAD,
        torch.tensor(1.0),
        beta=0.5,
        desirable_weight=1.2,
        undesirable_weight=0.7,
    )
    assert losses.tolist() == pytest.approx([0.322730, 0.511741], abs=1e-6)


def test_half_a_weight_at_the_reference() -> None:
    """Protects step 0: r = z0 = 0 is 1 - sigmoid(0) = .5 with weight 1, whatever beta."""
    for beta in (0.1, 3.0):
        assert kto_loss(torch.zeros(2), GOOD_AND_BAD, torch.tensor(0.0), beta=beta).tolist() == [0.5, 0.5]


def test_gradient() -> None:
    """Protects the direction: dL/dr = -+ w beta sigmoid'(z), sigmoid'(1) = .196612 at beta .5: -.098306 for the good answer,
    which must rise, and .098306 for the bad one."""
    ratios = torch.tensor([3.0, 3.0], requires_grad=True)
    kto_loss(ratios, GOOD_AND_BAD, torch.tensor(1.0), beta=0.5).sum().backward()
    assert ratios.grad is not None
    assert ratios.grad.tolist() == pytest.approx([-0.098306, 0.098306], abs=1e-6)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), st.floats(0, 1e4), st.booleans())
def test_bounded_and_finite(values: list[float], point: float, good: bool) -> None:
    """Protects from overflow: terms lie in [0, 1], and gradients are finite, ten thousand nats away in fp32."""
    ratios = torch.tensor(values, requires_grad=True)
    terms = kto_loss(ratios, torch.full((len(values),), good), torch.tensor(point))
    terms.sum().backward()
    assert ratios.grad is not None and ratios.grad.isfinite().all()
    assert ((terms >= 0) & (terms <= 1)).all()


def test_under_vmap() -> None:
    """Protects the vectorised theory: three seeds at once are those of one after another."""
    seeds, point = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor(0.2)
    both = torch.func.vmap(lambda ratios: kto_loss(ratios, GOOD_AND_BAD, point))(seeds)
    torch.testing.assert_close(both, torch.stack([kto_loss(ratios, GOOD_AND_BAD, point) for ratios in seeds]))


def test_reference_point() -> None:
    """Protects z0: the mean of 3, -1 and 1 is 1; a negative mean is held at 0, since a KL is never below it; no gradient."""
    ratios = torch.tensor([3.0, -1.0, 1.0], requires_grad=True)
    point = kto_reference_point(ratios)
    assert float(point.detach()) == 1.0 and not point.requires_grad
    assert float(kto_reference_point(-ratios)) == 0.0
