"""The mismatch between sampler and learner: its measures, its correction, and where a step uses both."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.batch import collate
from preflab.methods.grpo import GRPO
from preflab.methods.ppo import PPO
from preflab.methods.ppo_lag import PPOLag
from preflab.methods.shared.mismatch import correction_weights, measure_mismatch
from preflab.sampling.base import Decoding, Samples

from .test_stored_samples import Fickle
from .toy import Scored, opened, read, untrained

BATCH = collate([[3], [4]], [[1, 2], [5]])
SAMPLER = torch.tensor([[0.5, 0.2], [0.1, 0.9]]).log()  # the last place is padding
LEARNER = torch.tensor([[0.25, 0.4], [0.4, 0.001]]).log()
SAMPLES = Samples(BATCH, SAMPLER, exact=False, importance_cap=3.0)


def test_measures() -> None:
    """Protects ratio, direction and mask. pi/mu of the three tokens: 1/2, 2, 4. k3 of a ratio r is r - 1 - ln r:
    -1/2 + ln 2, 1 - ln 2, 3 - 2 ln 2, in sum 7/2 - 2 ln 2, whose third is .70457. One ratio of three is above 3."""
    measures = measure_mismatch(SAMPLES, LEARNER)
    assert measures == pytest.approx(
        {
            "mismatch_kl": (3.5 - 2 * math.log(2)) / 3,
            "mismatch_ratio": 4.0,
            "mismatch_low": 0.5,
            "importance_capped": 1 / 3,
        }
    )
    assert measures["mismatch_kl"] == pytest.approx(0.70457, abs=1e-5)
    assert "importance_capped" not in measure_mismatch(replace(SAMPLES, importance_cap=None), LEARNER)
    assert measure_mismatch(replace(SAMPLES, exact=True), LEARNER) == {}


def test_weights() -> None:
    """min(pi/mu, 3) at the three tokens, and 1 at the padding. Exact samples, and no cap: no weights."""
    weights = correction_weights(SAMPLES, LEARNER)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([[0.5, 2.0], [3.0, 1.0]]))
    assert correction_weights(replace(SAMPLES, exact=True), LEARNER) is None
    assert correction_weights(replace(SAMPLES, importance_cap=None), LEARNER) is None


class Uncapped(Fickle):
    """The same answers without a correction."""

    def sample(self, *args: Any, **kwargs: Any) -> Samples:
        return replace(super().sample(*args, **kwargs), importance_cap=None)


SETTINGS: dict[str, Any] = {"steps": 1, "rollouts": 8, "mini_batches": 1, "decoding": Decoding(max_new_tokens=4)}


@pytest.mark.parametrize("spec", [PPO(**SETTINGS), PPOLag(**SETTINGS), GRPO(**SETTINGS, group=4)])
def test_a_step_recomputes_measures_and_corrects(spec: Any, tmp_path: Path) -> None:
    """The sampler says log pi - .1 at every token. The learner's own log-probabilities make all importance ratios 1, so
    that the ratio of the update is 1 and not e^.1. The mismatch is e^.1 = 1.10517 at every token, with k3 = e^.1 - 1.1 =
    .00517. The weight e^.1 multiplies the policy loss of every token, and so its gradient."""
    losses: list[float] = []
    for sampler in (Fickle([]), Uncapped([])):
        directory = tmp_path / type(sampler).__name__
        reward = Scored(lambda text: float(len(text)))
        with opened(directory, untrained(), sampler=sampler, reward=reward, cost=reward) as parts:
            spec.train(parts)
        record = read(directory)[0]
        assert record["policy/ratio"] == pytest.approx(1.0, abs=1e-4)
        assert record["mismatch_ratio"] == pytest.approx(1.10517, abs=1e-4)
        assert record["mismatch_kl"] == pytest.approx(0.00517, abs=1e-5)
        assert ("importance_capped" in record) == (type(sampler) is Fickle)
        losses.append(record["policy/gradient_norm"])
    assert losses[0] == pytest.approx(1.10517 * losses[1], rel=1e-3)
