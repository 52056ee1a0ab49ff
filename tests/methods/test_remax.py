"""ReMax: each answer against the greedy one, which is sampled, scored and paid for."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tests.methods.rolled import SHORT, STEADY, assessed, learns, rolled, rows

from preflab.methods import remax
from preflab.methods.remax import ReMax, gain_over_greedy

SMALL = ReMax(steps=2, rollouts=8, decoding=SHORT, optim=STEADY)


def small(**fields: Any) -> ReMax:
    return ReMax.model_validate({**SMALL.model_dump(), **fields})


def test_the_greedy_answers_score_is_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts of two answers, scores 3, 1, 6, 6, greedy ones 2 and 7: gains 1, -1, -1, -1. KL .1 at each token: an
    answer of two tokens has .2 and .1 still to come. The baseline is shaped as the scores are: at scale 10 it counts ten
    times."""
    requests: list[Any] = []

    def greedy(parts: Any, prompts: Any, *name: Any, decoding: Any) -> Any:
        requests.append(([prompt.id for prompt in prompts], name, decoding.temperature))
        return rolled([2, 7])

    monkeypatch.setattr(remax, "roll_out", greedy)
    parts: Any = SimpleNamespace(policy=None, run=SimpleNamespace(record=SimpleNamespace(log=lambda values: None)))
    answers = assessed(rolled([3, 1, 6, 6], group=2, lengths=[1, 1, 1, 2]), [[0.1, 9], [0.1, 9], [0.1, 9], [0.1, 0.1]])
    assert rows(gain_over_greedy(small(group=2), parts, answers)) == [[0.9, 0], [-1.1, 0], [-1.1, 0], [-1.2, -1.1]]
    assert requests == [(["p0", "p1"], ("greedy", 0), 0.0)]
    assert rows(gain_over_greedy(small(group=2, reward_scale=10.0), parts, answers))[0][0] == 3 - 20 - 0.1


def test_the_greedy_answer_is_charged(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """8 answers and 8 greedy ones a step: 16 labels, and the tokens of both. A policy that is certain writes the greedy
    answer itself: no gain, no gradient beyond the decay of the weights."""
    trained = train(small(steps=1), policy=tiny())
    assert trained.meter.used("labels") == 16 and trained.meter.counts["sampled_tokens"] == 16 * 4
    assert "greedy_reward" in trained.metrics[0]
    certain = small(steps=1, decoding={"max_new_tokens": 4, "top_k": 1}, kl_coefficient=0.0)
    record = train(certain, policy=tiny()).metrics[0]
    assert record["reward"] == record["greedy_reward"] and record["policy/loss"] == pytest.approx(0, abs=1e-6)


def test_greedy_answers_do_not_depend_on_the_seed(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """One prompt asked eight times has one greedy answer: the baseline is a number a prompt."""
    trained = train(small(steps=1), policy=tiny(), prompts=1)
    texts = [json.loads(line)["text"] for line in (trained.directory / "samples.jsonl").read_text().splitlines()]
    sampled, greedy = texts[:4], texts[4:]
    assert len(set(sampled)) > 1 and len(greedy) == 4 and len(set(greedy)) == 1


def test_remax_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing to one that writes twice the numbers: slower than the others here, since the greedy
    answer of such a model is either far better or far worse than what it samples."""
    first, last = learns(train, tiny, small(steps=28, rollouts=48, mini_batches=4, kl_coefficient=0.01))
    assert first < 0.25 and last > 2 * first
