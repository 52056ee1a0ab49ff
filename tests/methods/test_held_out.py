"""What held-out pairs say of a reward model: accuracy, calibration and bins, worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.methods.toy import untrained
from torch import Tensor

from preflab.batch import PairBatch, TokenBatch, collate
from preflab.methods.shared.held_out import (
    PairScores,
    accuracy_by_margin,
    calibration_bins,
    measure_held_out,
    measure_order,
)
from preflab.models import forward
from preflab.models.heads import make_reward_model


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
        measures = measure_held_out(make_reward_model(policy, seed=0), pairs, budget)
        expected = {
            "score": -0.565066,
            "accuracy": 0.625,
            "loss": 0.565066,
            "calibration_error": 0.242366,
            "score_mean": 1.875,
            "score_std": 0.834523,
        }
        assert measures == pytest.approx(expected, abs=1e-5)


def test_certain_and_right_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the last bin (stated 1.0 falls into it): margins of 40, all right, are calibrated; all wrong, off by 1."""
    policy = untrained()
    monkeypatch.setattr(forward, "scores", first_id)
    scorer = make_reward_model(policy, seed=0)
    right = measure_held_out(scorer, scored_pairs([44, 43], [4, 3]), 1000)
    wrong = measure_held_out(scorer, scored_pairs([4, 3], [44, 43]), 1000)
    assert (right["accuracy"], wrong["accuracy"]) == (1.0, 0.0)
    assert right["calibration_error"] == pytest.approx(0.0, abs=1e-6)
    assert wrong["calibration_error"] == pytest.approx(1.0, abs=1e-6)


def test_bins_by_hand() -> None:
    """Protects the report's two tables. Margins 2, -1, 0, 2 as above.

    Stated .880797 twice (bin 7, both right), .731059 (bin 4, wrong), .5 (bin 0, a tie: half right). Four pairs in five bins
    of |margin| 0, 1, 2, 2: one each, the last empty and left out.
    """
    scores = PairScores(torch.tensor([3.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 2.0, 1.0]))
    table = calibration_bins(scores)
    assert [row["count"] for row in table] == [1, 1, 2]
    assert [row["right"] for row in table] == [0.5, 0.0, 1.0]
    assert [row["stated"] for row in table] == pytest.approx([0.5, 0.731059, 0.880797], abs=1e-6)
    assert accuracy_by_margin(scores) == [
        {"low": low, "high": low, "accuracy": right, "count": 1}
        for low, right in ((0, 0.5), (1, 0.0), (2, 1.0), (2, 1.0))
    ]


@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), min_size=2, max_size=40))
def test_bins_hold_every_pair_once(scores: list[tuple[int, int]]) -> None:
    """Protects the tables from losing pairs: both hold all of them and average to the accuracy; margins rise, bins of margin
    differ by one pair at most."""
    pairs = PairScores(*(torch.tensor(side, dtype=torch.float32) / 4 for side in zip(*scores, strict=True)))
    accuracy = measure_order(pairs)["accuracy"]
    for table, name in ((calibration_bins(pairs), "right"), (accuracy_by_margin(pairs), "accuracy")):
        assert sum(row["count"] for row in table) == len(scores)
        assert sum(row["count"] * row[name] for row in table) / len(scores) == pytest.approx(accuracy)
    margins = accuracy_by_margin(pairs)
    assert all(row["low"] <= row["high"] for row in margins)
    assert all(a["high"] <= b["low"] for a, b in pairwise(margins))
    counts = [row["count"] for row in margins]
    assert max(counts) - min(counts) <= 1 and len(margins) == min(5, len(scores))
