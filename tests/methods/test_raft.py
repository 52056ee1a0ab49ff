"""RAFT: the best of each group is imitated, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.methods.rolled import SHORT, STEADY, learns, rolled

from preflab.batch import TokenBatch
from preflab.errors import UserError
from preflab.methods import raft
from preflab.methods.raft import RAFT, find_best
from preflab.models import forward

SMALL = RAFT(steps=2, rollouts=8, mini_batches=2, group=4, decoding=SHORT, optim=STEADY)


def small(**fields: Any) -> RAFT:
    return RAFT.model_validate({**SMALL.model_dump(), **fields})


def test_the_best_of_each_group() -> None:
    """Scores 1 3 3, 2 2 2 and 0 -1 5: rows 1 (the first of equals), 3 (a tie's first) and 8; ties dropped, 1 and 8."""
    rollout = rolled([1, 3, 3, 2, 2, 2, 0, -1, 5], group=3)
    assert find_best(rollout, drop_ties=False) == [1, 3, 8]
    assert find_best(rollout, drop_ties=True) == [1, 8]


def imitated(train: Callable[..., Any], spec: RAFT, monkeypatch: pytest.MonkeyPatch, **how: Any) -> list[TokenBatch]:
    """The mini-batches that were learnt from."""
    batches: list[TokenBatch] = []
    nll = raft.nll
    monkeypatch.setattr(raft, "nll", lambda policy, rows: batches.append(rows) or nll(policy, rows))
    train(spec, token_budget=10_000, **how)
    monkeypatch.undo()
    return batches


def test_what_is_imitated(train: Callable[..., Any], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 answers to 4 prompts the four longest, in two mini-batches, every epoch each once; the loss is SFT's."""
    batches = imitated(train, small(rollouts=16, steps=1, epochs=2), monkeypatch, policy=tiny(ends=70))
    assert [len(rows) for rows in batches] == [2] * 4
    record = train(small(rollouts=16, steps=1, mini_batches=1), policy=tiny(ends=70)).metrics[0]
    assert record["kept"] == 4 and record["best_reward"] > record["reward"]
    first = imitated(train, small(rollouts=16, steps=1, mini_batches=1), monkeypatch, policy=tiny(ends=70))[0]
    with torch.no_grad():
        logprobs = forward.token_logprobs(tiny(ends=70).model, first).logprobs
    assert record["policy/loss"] == pytest.approx(float(-logprobs[first.mask].mean()), rel=1e-5)


def test_ties_are_kept_or_dropped(train: Callable[..., Any]) -> None:
    """Protects `drop_ties`: a reward that never differs gives each prompt's first answer, or nothing to learn from, which a run
    does not hide."""
    kept = train(small(drop_ties=False), reward=lambda text: 1.0)
    assert [record["kept"] for record in kept.metrics] == [2, 2] and kept.learners[0].updates == 4
    with pytest.raises(UserError, match="had anything to learn from"):
        train(small(drop_ties=True), reward=lambda text: 1.0)


def test_what_raft_refuses(train: Callable[..., Any]) -> None:
    """Greedy decoding, no reward."""
    with pytest.raises(UserError, match="temperature must be above 0"):
        train(small(decoding={"temperature": 0}))
    with pytest.raises(UserError, match="Name a reward"):
        train(SMALL, reward=None)


def test_raft_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing to one that writes little but numbers."""
    first, last = learns(train, tiny, small(steps=12, rollouts=96, mini_batches=2, group=8))
    assert first < 0.35 and last > 0.7
