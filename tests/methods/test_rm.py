"""The reward model: what it is validated by, worked out by hand, and that it learns what tells answers apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.toy import Toy, opened, read, untrained
from torch import Tensor

from preflab.batch import PairBatch, TokenBatch, collate, collate_pairs
from preflab.errors import UserError
from preflab.methods.rm import RM, bt, held_out_measures
from preflab.models import forward
from preflab.models.heads import reward_model
from preflab.train.learner import Optim
from preflab.types import Completion, Preference


def first_id(model: Any, batch: TokenBatch) -> Tensor:
    """A reward model that scores an answer by its first token's id."""
    return batch.completion_ids[:, 0].float()


def scored_pairs(chosen: list[int], rejected: list[int]) -> PairBatch:
    prompts = [[9]] * len(chosen)
    return PairBatch(collate(prompts, [[i] for i in chosen]), collate(prompts, [[i] for i in rejected]))


def test_held_out_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects accuracy, ties and calibration.

    Scores 3-1, 1-2, 2-2, 3-1: margins 2, -1, 0, 2. Accuracy (1 + 0 + 1/2 + 1) / 4 = .625.
    Log-loss (2 ln(1+e^-2) + ln(1+e) + ln 2) / 4 = (.253856 + 1.313262 + .693147) / 4 = .565066.
    Stated sigmoid(|margin|): twice .880797 (2 right), .731059 (0 right), .5 (a tie: 1/2 right), each in a bin of its own:
    (|2 - 1.761594| + |0 - .731059| + |.5 - .5|) / 4 = .242366.
    Scores 3,1,2,3,1,2,2,1: mean 1.875, sum of squared deviations 4.875, std sqrt(4.875 / 7) = .834523.
    """
    policy = untrained()
    monkeypatch.setattr(forward, "scores", first_id)
    pairs = scored_pairs([3, 1, 2, 3], [1, 2, 2, 1])
    for budget in (2, 1000):
        found = held_out_measures(reward_model(policy, seed=0), pairs, budget)
        wanted = {
            "score": -0.565066,
            "accuracy": 0.625,
            "loss": 0.565066,
            "calibration_error": 0.242366,
            "score_mean": 1.875,
            "score_std": 0.834523,
        }
        assert found == pytest.approx(wanted, abs=1e-5)


def test_certain_and_right_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the last bin (stated 1.0 falls into it): margins of 40, all right, are calibrated; all wrong, off by 1."""
    policy = untrained()
    monkeypatch.setattr(forward, "scores", first_id)
    scorer = reward_model(policy, seed=0)
    right = held_out_measures(scorer, scored_pairs([44, 43], [4, 3]), 1000)
    wrong = held_out_measures(scorer, scored_pairs([4, 3], [44, 43]), 1000)
    assert (right["accuracy"], wrong["accuracy"]) == (1.0, 0.0)
    assert right["calibration_error"] == pytest.approx(0.0, abs=1e-6)
    assert wrong["calibration_error"] == pytest.approx(1.0, abs=1e-6)


def test_terms() -> None:
    """Protects the loss's terms: one a pair, from the scores at each answer's end-of-turn token."""
    policy = untrained()
    toy = Toy()
    scorer = reward_model(policy, seed=0)
    pairs = collate_pairs(toy.preferences("train"), scorer.encode, limit=8)
    terms = bt(scorer, pairs)
    margin = forward.scores(scorer.model, pairs.chosen) - forward.scores(scorer.model, pairs.rejected)
    assert terms.mask is None
    torch.testing.assert_close(terms.terms, torch.log1p(torch.exp(-margin)))
    torch.testing.assert_close(terms.stats["margin"], margin)
    assert terms.stats["accuracy"].tolist() == (margin > 0).float().tolist()


def test_it_learns(tmp_path: Path) -> None:
    """Protects the method end to end: on answers that one word makes good or bad it orders every held-out pair, surely;
    its labels are counted, and the policy it was made from is left alone."""
    policy = untrained()
    toy = Toy()
    toy.preferences = lambda split: [
        Preference(prompt, Completion(f"good {prompt.turns[0].content}"), Completion(f"bad {prompt.turns[0].content}"))
        for prompt in toy.prompts(split)
    ]
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    with opened(tmp_path, policy, testbed=toy) as parts:
        scorer = RM(epochs=12, batch_size=4, optim=Optim(learning_rate=5e-3, warmup=0.0)).train(parts)
        assert parts.run.meter.used("labels") == 8
    last = read(tmp_path)[-1]
    assert last["validation/accuracy"] == 1.0 and last["validation/loss"] < 0.2
    assert last["validation/score"] == -last["validation/loss"]
    assert read(tmp_path)[0]["loss"] == pytest.approx(math.log(2), abs=0.2)
    held_out = collate_pairs(toy.preferences("validation"), scorer.encode, limit=16)
    assert held_out_measures(scorer, held_out, 100)["loss"] == pytest.approx(last["validation/loss"], abs=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())


def test_no_pairs(tmp_path: Path) -> None:
    """Protects the user from a traceback on data without preferences."""
    policy = untrained()
    with opened(tmp_path, policy, preferences=list) as parts, pytest.raises(UserError, match="no preference pairs"):
        RM().train(parts)
