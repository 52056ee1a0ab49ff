"""DPO-Iter: each round's pairs and reference come from the newest policy, and the rounds climb the reward."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tests.methods.toy import Scored, opened, read, untrained

from preflab.batch import collate_pairs
from preflab.errors import UserError
from preflab.methods.dpo_iter import DPOIter, open_pair_rounds
from preflab.methods.pairs import PairDraw
from preflab.methods.sft import SFT
from preflab.models import forward
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim
from preflab.types import to_preference

DRAW = PairDraw(samples=4, rule="best-worst", decoding=Decoding(max_new_tokens=3))
SPEC = DPOIter(
    rounds=3, draw=DRAW, batch_size=4, beta=0.5, optim=Optim(learning_rate=1e-2, warmup=0.0, schedule="constant")
)


def length(text: str) -> float:
    return float(len(text))


def test_rounds_climb_from_a_new_reference(tmp_path: Path) -> None:
    """Protects the method end to end, from a policy that answers some colour: each round begins at exactly ln 2 again (its
    reference is the newest policy) and leaves it; the answers that the reward likes become more; rounds share the run."""
    with opened(tmp_path / "sft", untrained()) as parts:
        start = SFT(epochs=6, batch_size=4, optim=SPEC.optim).train(parts)
    reward = Scored(lambda text: float(text.startswith("g")))
    draw = DRAW.model_copy(update={"samples": 6})
    with opened(tmp_path / "dpo-iter", start, reward=reward) as parts:
        SPEC.model_copy(update={"draw": draw, "epochs": 4, "beta": 0.1}).train(parts)
    rows = read(tmp_path / "dpo-iter")
    for number in range(3):
        losses = [row["loss"] for row in rows if row["round"] == number]
        assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
        assert next(row for row in rows if row["round"] == number)["accuracy"] == 0.5
        assert losses[-1] < math.log(2) - 0.1
        last = [row for row in rows if row["round"] == number][-1]
        assert last["progress"] == pytest.approx((number + 1) / 3)
    assert len(reward.means) == 3 and reward.means[-1] > reward.means[0] + 0.2


def test_a_round_is_written_down(tmp_path: Path) -> None:
    """Protects resume: a round's pairs and reference log-probabilities are read back, not drawn again from a policy that
    has moved on; the counts of what they cost come with them."""
    policy = untrained()
    with opened(tmp_path, policy, reward=Scored(length)) as parts:
        rounds = open_pair_rounds(SPEC, parts)
        assert rounds.begin()
        first, costs = rounds.data, parts.run.meter.state_dict()
        entry = json.loads((tmp_path / "journal" / "round-0000.json").read_text())["value"]
        data = collate_pairs([to_preference(row) for row in entry["pairs"]], policy.encode, limit=16)
        with torch.no_grad():
            chosen = forward.sequence_logprobs(policy.model, data.chosen)
        torch.testing.assert_close(torch.tensor(entry["reference_chosen"]), chosen, atol=1e-5, rtol=1e-5)
        state = rounds.state_dict()
        for parameter in policy.model.parameters():
            parameter.data.add_(0.3)
        parts.run.meter.load_state_dict(dict.fromkeys(costs, 0.0))
        again = open_pair_rounds(SPEC, parts)
        again.load_state_dict(json.loads(json.dumps(state)))
        assert parts.run.meter.state_dict() == costs
    assert first is not None and again.data is not None
    assert first.reference_chosen is not None and again.data.reference_chosen is not None
    assert torch.equal(first.reference_chosen, again.data.reference_chosen)
    assert torch.equal(first.chosen.completion_ids, again.data.chosen.completion_ids)
    assert torch.equal(rounds.next_batch().chosen.completion_ids, again.next_batch().chosen.completion_ids)


def test_passes_are_shuffled_and_whole(tmp_path: Path) -> None:
    """Protects `epochs`: each pass over a round's 8 pairs in batches of 3 holds every pair once, in an order of its own."""
    policy = untrained()
    with opened(tmp_path, policy, reward=Scored(length)) as parts:
        rounds = open_pair_rounds(SPEC.model_copy(update={"epochs": 2, "batch_size": 3}), parts)
        assert rounds.begin()
        passes = []
        for _ in range(2):
            batches = [rounds.next_batch() for _ in range(3)]
            assert [len(batch) for batch in batches] == [3, 3, 2]
            passes.append([float(x) for batch in batches for x in batch.reference_chosen])  # type: ignore[union-attr]  # every batch has it here
    assert rounds.finished()
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1])


def test_prompts_a_round(tmp_path: Path) -> None:
    """Protects `prompts` from being an option that nobody reads."""
    policy = untrained()
    with opened(tmp_path, policy, reward=Scored(length)) as parts:
        SPEC.model_copy(update={"prompts": 4, "rounds": 2}).train(parts)
    assert [row["pairs"] for row in read(tmp_path)] == [4, 4]


def test_no_pair_ever(tmp_path: Path) -> None:
    """Protects the user from an arm that did nothing and looks trained: after all rounds without a pair it says why."""
    policy = untrained()
    reward = Scored(lambda text: 1.0)
    with (
        opened(tmp_path, policy, reward=reward) as parts,
        pytest.raises(UserError, match="3 rounds of samples gave no pair"),
    ):
        SPEC.train(parts)
    assert len(reward.means) == 3


def test_rounds_without_pairs_are_passed_over(tmp_path: Path) -> None:
    """Protects an arm that has become right everywhere: a round whose samples tie is a step without an update, and the run
    ends after its rounds, trained."""
    policy = untrained()
    reward = Scored(lambda text: length(text) if not reward.means else 7.0)
    with opened(tmp_path, policy, reward=reward) as parts:
        SPEC.train(parts)
    rows = read(tmp_path)
    assert [(row["round"], row["pairs"]) for row in rows] == [(0, 8), (0, 8), (1, 0), (2, 0)]
    assert "loss" not in rows[-1] and rows[-1]["progress"] == 1.0
