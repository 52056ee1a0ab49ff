"""Losses on preference pairs: golden values, gradients, and how a loss is found by its name."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preflab.errors import UserError
from preflab.losses.preference import dpo_loss, ipo_loss, preference_loss


def test_dpo_golden() -> None:
    """Protects the formula: beta .1, log-ratios 2 and -1: z = .1 x 3 = .3, -ln sigmoid(.3) = ln(1 + e^-.3) = .554355.
    Swapped, z = -.3: ln(1 + e^.3) = .854355 (.3 more)."""
    chosen, rejected = torch.tensor([2.0, -1.0]), torch.tensor([-1.0, 2.0])
    torch.testing.assert_close(
        dpo_loss(chosen, rejected, beta=0.1), torch.tensor([0.554355, 0.854355]), atol=1e-6, rtol=0
    )


def test_dpo_is_ln_2_at_the_reference() -> None:
    """Protects step 0: no log-ratio, exactly ln 2, whatever beta."""
    zero = torch.zeros(3)
    for beta in (0.01, 0.1, 5.0):
        assert dpo_loss(zero, zero, beta=beta).tolist() == [torch.tensor(math.log(2.0)).item()] * 3


@given(st.floats(0.01, 2), st.floats(-5, 5), st.floats(-5, 5))
def test_beta_multiplies(beta: float, chosen: float, rejected: float) -> None:
    """Protects from beta as a divisor: doubling it is doubling the log-ratios."""
    c, r = torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected], dtype=torch.float64)
    torch.testing.assert_close(dpo_loss(c, r, beta=2 * beta), dpo_loss(2 * c, 2 * r, beta=beta))


def test_dpo_gradient() -> None:
    """Protects the direction: dL/dchosen = -beta sigmoid(-z), dL/drejected its opposite; beta .5, z = .5 x (1 - 3) = -1:
    -.5 x sigmoid(1) = -.365529. Falling along it raises the chosen and lowers the rejected."""
    chosen = torch.tensor([1.0], requires_grad=True)
    rejected = torch.tensor([3.0], requires_grad=True)
    dpo_loss(chosen, rejected, beta=0.5).sum().backward()
    assert chosen.grad is not None and rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.365529, abs=1e-6)
    assert rejected.grad.item() == pytest.approx(0.365529, abs=1e-6)


def test_dpo_stays_finite() -> None:
    """Protects from overflow: a pair wrong by 1000 nats at beta 1 costs 1000, one right by as much 0."""
    far = torch.tensor([1000.0, 0.0])
    assert dpo_loss(far, far.flip(0), beta=1.0).tolist() == [0.0, 1000.0]


def test_ipo_golden() -> None:
    """Protects the formula: beta .1, ratios 2 and -1: (3 - 1/(2 x .1))^2 = (3 - 5)^2 = 4; at the reference
    1/(4 x .01) = 25; least where the margin is 5."""
    chosen, rejected = torch.tensor([2.0, 0.0, 5.0]), torch.tensor([-1.0, 0.0, 0.0])
    torch.testing.assert_close(ipo_loss(chosen, rejected, beta=0.1), torch.tensor([4.0, 25.0, 0.0]))


def test_losses_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects that a new loss is one function and one name, here or in a user's file."""
    assert preference_loss("sigmoid") is dpo_loss and preference_loss("ipo") is ipo_loss
    (tmp_path / "my_hinge.py").write_text(
        "def hinge(chosen, rejected, *, beta):\n    return chosen - rejected + beta\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert preference_loss("my_hinge:hinge")(1.0, 2.0, beta=3.0) == 2.0
    monkeypatch.delitem(sys.modules, "my_hinge")


def test_unknown_loss_is_the_users_mistake() -> None:
    """Protects the user: the nearest name, all names, and which half of `module:function` is wrong."""
    with pytest.raises(UserError, match=r"'sigmiod'.*Did you mean 'sigmoid'.*ipo"):
        preference_loss("sigmiod")
    with pytest.raises(UserError, match="no_such_module"):
        preference_loss("no_such_module:loss")
