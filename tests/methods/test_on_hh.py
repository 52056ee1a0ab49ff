"""Every method that takes pairs learns from real ones: sixteen dialogues of HH-RLHF, read by the project's own loader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.methods.toy import opened, read
from torch import Tensor

from preflab.batch import collate_pairs
from preflab.losses.preference import PREFERENCE_LOSSES
from preflab.methods.base import Method
from preflab.methods.dpo import DPO
from preflab.methods.kto import KTO
from preflab.methods.pro import PRO
from preflab.methods.rm import RM
from preflab.methods.rrhf import RRHF
from preflab.models import forward, tiny
from preflab.models.lm import LanguageModel
from preflab.models.spec import TinyShape
from preflab.spec import Context
from preflab.testbeds import TESTBEDS
from preflab.train.learner import Optim
from preflab.types import Preference

SHAPE = TinyShape(width=32, inner=32, layers=1, heads=2, context=256)
FAST = Optim(learning_rate=1e-2, warmup=0.0, schedule="constant")
PER_TOKEN = {"simpo", "orpo", "rrhf", "pro"}  # these compare log-probabilities a token
METHODS: dict[str, Method] = {
    **{loss: DPO(loss=loss, epochs=20, batch_size=8, optim=FAST) for loss in sorted(PREFERENCE_LOSSES)},
    "kto": KTO(epochs=20, batch_size=8, optim=FAST),
    "rrhf": RRHF(epochs=20, batch_size=8, optim=FAST),
    "pro": PRO(epochs=20, batch_size=8, optim=FAST),
}


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> Sequence[Preference]:
    data = str(shared_data / "hh-rlhf")
    limits = {"max_prompt_chars": 100, "max_answer_chars": 80}
    spec = TESTBEDS.parse({"kind": "hh_rlhf", "data": data, "subsets": ["helpful-base"], **limits})
    with spec.open(Context()) as testbed:
        return testbed.preferences("train")[:16]


def gaps(policy: LanguageModel, pairs: Sequence[Preference], *, per_token: bool) -> Tensor:
    """log pi(chosen) - log pi(rejected) of each pair, of the answers or of their mean token."""
    data = collate_pairs(pairs, policy.encode, limit=256)
    with torch.no_grad():
        sides = [
            forward.sequence_logprobs(policy.model, side) / (side.completion_lengths if per_token else 1)
            for side in (data.chosen, data.rejected)
        ]
    return sides[0] - sides[1]


@pytest.mark.parametrize("name", METHODS)
def test_what_people_chose_becomes_likelier_than_what_they_rejected(
    name: str, pairs: Sequence[Preference], tmp_path: Path
) -> None:
    """Protects the road from a real dialogue to an update: after 40 updates the policy has moved towards the chosen
    answer in three pairs of four, measured outside of the method."""
    before = gaps(tiny.make_tiny(SHAPE, seed=0), pairs, per_token=name in PER_TOKEN)
    with opened(tmp_path, tiny.make_tiny(SHAPE, seed=0), preferences=lambda: pairs, token_budget=2048) as parts:
        trained = METHODS[name].train(parts)
    assert isinstance(trained, LanguageModel)
    risen = gaps(trained, pairs, per_token=name in PER_TOKEN) > before
    assert float(risen.float().mean()) >= 0.75


def test_a_reward_model_learns_their_order(pairs: Sequence[Preference], tmp_path: Path) -> None:
    """Protects reward models on real pairs: the training pairs' accuracy climbs from a coin's to nearly all."""
    with opened(tmp_path, tiny.make_tiny(SHAPE, seed=0), preferences=lambda: pairs, token_budget=2048) as parts:
        RM(epochs=12, batch_size=8, optim=FAST).train(parts)
    accuracies = [row["accuracy"] for row in read(tmp_path)]
    assert sum(accuracies[-2:]) / 2 >= 0.9 > sum(accuracies[:2]) / 2
