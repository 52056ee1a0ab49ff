"""What is charged: 2N a forward or sampled token, 6N a trained one, and labels."""

from __future__ import annotations

import pytest

from preflab.meter import Meter


def test_charges() -> None:
    """Protects the budget: N = 10. Sampling 3 prompt and 4 new tokens 2 x 10 x 7 = 140; forward 5: 100; trained 6: 360."""
    meter = Meter()
    meter.sampled(10, 3, 4)
    meter.forward(10, 5)
    meter.trained(10, 6)
    meter.labelled(8)
    assert meter.used("compute") == 140 + 100 + 360
    assert meter.used("labels") == 8
    tokens = {"sampled_tokens": 4, "forward_tokens": 5, "trained_tokens": 6}
    assert {name: meter.counts[name] for name in tokens} == tokens


def test_a_checkpoint_keeps_it() -> None:
    """Protects a resumed run from a fresh budget: counts go on where they were, and the state is a copy of them."""
    meter, other = Meter(), Meter()
    meter.trained(2, 3)
    state = meter.state_dict()
    other.load_state_dict(state)
    other.trained(2, 3)
    assert other.used("compute") == 2 * meter.used("compute") == pytest.approx(72)
    assert state == meter.state_dict()
