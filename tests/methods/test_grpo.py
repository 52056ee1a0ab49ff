"""GRPO: groups, its two families of corrections, and dynamic sampling."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.rolled import SHORT, STEADY, assessed, learns, rolled, rows

from preflab.batch import Experience, collate
from preflab.errors import UserError
from preflab.methods import METHODS, grpo
from preflab.methods.grpo import GRPO, gain_over_group
from preflab.methods.shared import advantage
from preflab.models import forward

SMALL = GRPO(steps=2, rollouts=8, mini_batches=2, group=2, decoding=SHORT, optim=STEADY)


def small(**fields: Any) -> GRPO:
    return GRPO.model_validate({**SMALL.model_dump(), **fields})


def test_the_advantage_stands_at_every_token() -> None:
    """Scores 1 and 3: -+.7071 (see test_advantages), at each token of an answer and nowhere in its padding. Dr. GRPO: -+1."""
    answers = assessed(rolled([1, 3], group=2, lengths=[1, 3]))
    assert rows(gain_over_group(SMALL, answers)) == [[-0.7071, 0, 0], [0.7071, 0.7071, 0.7071]]
    assert rows(gain_over_group(small(normalise_std=False), answers)) == [[-1, 0, 0], [1, 1, 1]]


def test_overlong_answers_lose() -> None:
    """4 tokens at most, a window of 2, a penalty of 3: answers of 3 and 4 tokens lose 1.5 and 3. Scores 5 and 5 become 3.5
    and 2, their mean 2.75: +-.75. A window longer than an answer is refused."""
    spec = small(normalise_std=False, overlong_window=2, overlong_penalty=3.0)
    assert rows(gain_over_group(spec, assessed(rolled([5, 5], group=2, lengths=[3, 4]))))[0][0] == 0.75
    with pytest.raises(UserError, match="overlong_window must not exceed the length limit"):
        METHODS.parse({"kind": "grpo", "overlong_window": 9, "decoding": {"max_new_tokens": 8}})


def test_the_kl_is_a_term_of_the_loss(tiny: Callable[..., Any]) -> None:
    """Advantage 0, reference .1 nats below the policy: the loss is beta k3 = .5 (e^-.1 - 1 + .1) = .5 x .004837 at each
    token, with a gradient; beta 0 leaves nothing."""
    lm, batch = tiny(), collate([[5], [6]], [[10, 1], [10, 11, 12, 1]])
    with torch.no_grad():
        logprobs = forward.token_logprobs(lm.model, batch).logprobs
    zero = torch.zeros_like(logprobs)
    experience = Experience(batch, logprobs, logprobs - 0.1, zero)
    spec = small(loss_average="token")
    terms = advantage.weigh_terms(spec, lm, 3.0, 0.5, experience).terms
    assert terms[batch.mask].tolist() == pytest.approx([0.5 * 0.0048374] * 6, rel=1e-3)
    terms[batch.mask].sum().backward()
    assert any(part.grad is not None and part.grad.abs().sum() > 0 for part in lm.model.parameters())
    assert not advantage.weigh_terms(spec, lm, 3.0, 0.0, experience).terms[batch.mask].abs().gt(1e-7).any()


@pytest.mark.parametrize(
    "change",
    [
        {"normalise_std": False},
        {"loss_average": "token"},
        {"loss_average": "constant"},
        {"kl_coefficient": 0.5},
        {"clip": 0.001, "clip_high": 0.001},
        {"clip_high": 0.001},
        {"overlong_window": 3},
        {"truncated": "ignore"},
    ],
    ids=str,
)
def test_every_correction_changes_what_is_learnt(
    change: dict[str, Any], train: Callable[..., Any], tiny: Callable[..., Any]
) -> None:
    """Protects from a switch that nobody reads: the same rollout at first, other weights after two steps."""
    base, changed = (
        train(small(**fields), policy=tiny(ends=70), reward=lambda text: len(text) % 7) for fields in ({}, change)
    )
    assert base.metrics[0]["reward"] == changed.metrics[0]["reward"]
    pairs = zip(base.policy.model.parameters(), changed.policy.model.parameters(), strict=True)
    assert not all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_clip_higher_lets_tokens_rise(tiny: Callable[..., Any]) -> None:
    """DAPO: at ratio 1.25 and advantage 1 a clip of .2 stops the gradient (loss -1.2), a high clip of .28 does not (-1.25);
    downwards, at ratio .75 and advantage -1, both stop at .8."""
    lm, batch = tiny(), collate([[5], [6]], [[10, 1], [10, 1]])
    with torch.no_grad():
        logprobs = forward.token_logprobs(lm.model, batch).logprobs
    old = logprobs - torch.tensor([[1.25], [0.75]]).log()
    experience = Experience(batch, old, logprobs, torch.tensor([[1.0], [-1.0]]).expand(2, 2))
    for high, loss in ((None, -1.2), (0.28, -1.25)):
        terms = advantage.weigh_terms(small(loss_average="token", clip_high=high), lm, 2.0, 0.0, experience).terms
        assert terms[0].tolist() == pytest.approx([loss] * 2, rel=1e-4)
        assert terms[1].tolist() == pytest.approx([0.8] * 2, rel=1e-4)


# --- dynamic sampling


def uneven(text: str) -> float:
    """Equal for most groups of a model that knows nothing."""
    return float(text[:1] == "3")


def test_dynamic_sampling_fills_the_step(
    train: Callable[..., Any], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects DAPO's filter: whatever is learnt from has variance in each group; draws go on until the step is full, ask
    no more prompts than are missing, and are paid for; the policy's own mean score is logged beside the kept groups'."""
    experiences: list[Experience] = []
    assess = advantage.assess_rollout
    monkeypatch.setattr(advantage, "assess_rollout", lambda *args: experiences.append(assess(*args)) or experiences[-1])
    trained = train(small(rollouts=8, steps=3, dynamic_sampling=True, most_draws=40), policy=tiny(), reward=uneven)
    assert len(experiences) == 3 and all(len(experience) == 8 for experience in experiences)
    for experience in experiences:
        assert (experience.advantages[:, 0].view(-1, 2).abs() > 0.5).all()
    assert trained.meter.used("labels") > 24  # more than what was learnt from
    for record in trained.metrics:
        assert 0 < record["no_variance"] < 1 and record["drawn_reward"] < 0.5
        assert record["reward"] == 0.5  # one of two in every group that is kept


def test_dynamic_sampling_gives_up(train: Callable[..., Any], tmp_path: Path) -> None:
    """A reward that never differs: so many draws a step and no more, no update; a run that learnt nothing says so in the end
    and is no trained policy."""
    with pytest.raises(UserError, match="had anything to learn from"):
        train(small(dynamic_sampling=True, most_draws=3), reward=lambda text: 1.0, directory=tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["labels"] for record in records] == [3 * 8, 2 * 3 * 8]
    assert [record["no_variance"] for record in records] == [1, 1] and "policy/loss" not in records[-1]


def test_dynamic_sampling_off_is_the_plain_rollout(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """`most_draws` alone changes nothing."""
    monkeypatch.setattr(grpo, "draw_differing", None)
    assert train(small(most_draws=1)).metrics == train(small()).metrics


def test_grpo_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing to one that writes little but numbers."""
    spec = small(steps=20, rollouts=48, mini_batches=4, group=8)
    first, last = learns(train, tiny, spec)
    assert first < 0.35 and last > 0.7
