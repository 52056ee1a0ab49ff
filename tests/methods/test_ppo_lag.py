"""PPO with a cost: the multiplier follows the constraint, the combined advantage is the Lagrangian's, and it resumes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab import ops
from preflab.batch import collate
from preflab.errors import UserError
from preflab.meter import Meter
from preflab.methods import ppo_lag
from preflab.methods.ppo import PPO
from preflab.methods.ppo_lag import Multiplier, PPOLag, combine, price_labels
from preflab.methods.shared.rollout import Rollout
from preflab.models import forward
from preflab.models.heads import make_critic
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding, Samples
from preflab.train import checkpoint
from preflab.train.learner import Optim

STEADY = Optim(learning_rate=0.01, warmup=0.0, schedule="constant")
FIELDS: dict[str, Any] = {
    "steps": 2,
    "rollouts": 8,
    "mini_batches": 2,
    "decoding": Decoding(max_new_tokens=4),
    "optim": STEADY,
    "critic_optim": STEADY,
}
SMALL = PPOLag(**FIELDS)
END = 1


def small(**fields: Any) -> PPOLag:
    return SMALL.model_copy(update=fields)


def test_combined_advantages() -> None:
    """Protects (A_r - lambda A_c) / (1 + lambda): at lambda = 3, (1 - 3 * 2) / 4 = -1.25; at 0 the reward's own."""
    advantages = [torch.tensor([[1.0]]), torch.tensor([[2.0]])]
    assert combine(advantages, 3.0).item() == -1.25 and combine(advantages, 0.0).item() == 1.0


def test_multiplier() -> None:
    """Protects the ascent on log lambda. From lambda = 2 at a mean cost of 1.5, threshold .5, rate .1: log 2 + .1 * 2 * 1
    = .893147, lambda = 2.442806. A mean cost of -.5 then: .893147 - .1 * 2.442806 = .648867. Never above `most`."""
    multiplier = Multiplier(2.0, 0.1, 5.0, threshold=0.5)
    multiplier.follow(1.5)
    assert multiplier.value == pytest.approx(2.442806, abs=1e-6)
    multiplier.follow(-0.5)
    assert multiplier.log == pytest.approx(0.648867, abs=1e-6)
    multiplier.follow(1e6)
    assert multiplier.value == pytest.approx(5.0)
    again = Multiplier(1.0, 0.1, None, threshold=0.0)
    again.load_state_dict(multiplier.state_dict())
    assert again.log == multiplier.log and Multiplier(9.0, 0.1, 5.0, threshold=0.0).value == pytest.approx(5.0)
    again.follow(-1e6)
    assert again.value == 0.0 and math.isfinite(again.log)


@pytest.mark.parametrize("multiplier", [0.0, 1.0, 4.0])
def test_the_kl_has_one_weight(multiplier: float, tiny: Callable[..., Any]) -> None:
    """Protects the KL: subtracted from the reward and added to the cost, its weight in the sum is c for every lambda.
    Without scores and values, 3 tokens each 1 nat above the reference: A_t = -c (3 - t) for c = .1."""
    lm, batch = tiny(), collate([[5, 6]], [[10, 11, END]])
    with torch.no_grad():
        logprobs = forward.token_logprobs(lm.model, batch).logprobs
    samples = Samples(batch, logprobs + 1.0)
    parts: Any = SimpleNamespace(token_budget=64, policy=lm, run=SimpleNamespace(meter=Meter()))
    valuers = [
        ppo_lag.Valuer(make_critic(lm, seed=0), SimpleNamespace(size=1), ops.RunningMoments(0.9))  # type: ignore[arg-type]
        for _ in range(2)
    ]
    spec = small(normalise_advantages=False, kl_coefficient=0.1)
    rollout = Rollout(1, [], samples, [], torch.zeros(1))
    seen = ppo_lag.assess_with_critics(
        spec, parts, rollout, torch.zeros(1), Reference(lm.model), *valuers, multiplier=multiplier
    )
    torch.testing.assert_close(seen[0].advantages, torch.tensor([[-0.3, -0.2, -0.1]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[1].returns, torch.tensor([[0.3, 0.2, 0.1]]), atol=1e-5, rtol=0)
    assert parts.run.meter.counts["forward_tokens"] == 3 * batch.tokens  # the reference and two critics


def test_without_a_multiplier_it_is_ppo(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """Protects the shared loop: with lambda near 0 the policy takes PPO's own steps, whatever the cost."""
    plain = train(PPO(**FIELDS))
    near = small(multiplier=1e-12, multiplier_rate=0.0)
    constrained = train(near, cost=lambda text: float(len(text) % 3))
    for name, weight in plain.policy.model.named_parameters():
        torch.testing.assert_close(
            dict(constrained.policy.model.named_parameters())[name], weight, atol=1e-5, rtol=1e-4
        )
    assert [row["reward"] for row in constrained.metrics] == [row["reward"] for row in plain.metrics]
    assert len(constrained.learners) == 3 and all("cost_critic/error" in row for row in constrained.metrics)


def shares(text: str) -> tuple[float, float]:
    """The numbers above and below 0 in an answer of up to 4 tokens, as shares."""
    numbers = re.findall(r"(?<!\S)-?\d+(?!\S)", text)
    below = sum(number.startswith("-") for number in numbers)
    return (len(numbers) - below) / 4, below / 4


def test_it_keeps_to_the_threshold(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """Protects the constraint where it binds. A number below 0 earns 1/4, one above 0 only .15, so that a policy without a
    constraint writes numbers below 0. Each costs 1/4, and the mean may be .1: the policy must write others instead."""
    spec = PPOLag(
        steps=24,
        rollouts=48,
        decoding=Decoding(max_new_tokens=4),
        truncated="score",
        kl_coefficient=0.01,
        threshold=0.1,
        multiplier_rate=1.0,
        optim=Optim(learning_rate=0.01),
        critic_optim=Optim(learning_rate=0.01),
    )

    def reward(text: str) -> float:
        above, below = shares(text)
        return 0.6 * above + below

    means = {}
    for limit in (0.1, 2.0):
        changed = spec.model_copy(update={"threshold": limit})
        late = train(
            changed, policy=tiny(32), reward=reward, cost=lambda text: shares(text)[1], token_budget=2048
        ).metrics
        means[limit] = {name: sum(row[name] for row in late[-8:]) / 8 for name in ("cost", "reward", "multiplier")}
    assert means[2.0]["cost"] > 0.6 and means[2.0]["multiplier"] < 0.05
    assert means[0.1]["cost"] < 0.12 and means[0.1]["reward"] > 0.42 and means[0.1]["multiplier"] > 0.2


def test_a_slack_constraint_lets_go(train: Callable[..., Any]) -> None:
    """Protects the other side: a cost that is always below the threshold drives the multiplier down, one above drives it to
    its bound."""
    safe = train(small(steps=4, multiplier_rate=0.5), cost=lambda text: -2.0)
    unsafe = train(small(steps=4, multiplier_rate=0.5, threshold=-3.0), cost=lambda text: -2.0)
    values = [row["multiplier"] for row in safe.metrics]
    assert values == sorted(values, reverse=True) and values[-1] < 0.35
    assert unsafe.metrics[-1]["multiplier"] == pytest.approx(5.0)
    assert safe.metrics[0]["unsafe"] == 0.0 and safe.metrics[0]["cost"] == -2.0


def test_a_run_that_broke_off_ends_the_same(train: Callable[..., Any], tmp_path: Path) -> None:
    """The cost fails in the third step; the run goes on from its checkpoint. Weights of the policy and of both critics and
    the metrics are, bit for bit, those of a run that was left alone; the checkpoint holds the multiplier and both moments."""
    spec = small(steps=4, epochs=2, reference_ema=0.3, truncated="score", value_decay=0.5, multiplier_rate=0.5)
    calls = iter(range(1, 1000))

    def cost(text: str) -> float:
        return float(len(text)) / 8 - 1

    def failing(text: str) -> float:
        if next(calls) > 20:
            raise RuntimeError("the cost is away")
        return cost(text)

    whole = train(spec, cost=cost, checkpoint_seconds=0)
    tree = checkpoint.read_newest_checkpoint(whole.directory / "checkpoints")
    assert tree is not None and tree["multiplier"]["log"] == pytest.approx(math.log(whole.metrics[-1]["multiplier"]))
    assert tree["moments"] != tree["cost_moments"] and {"critic", "cost_critic", "reference"} <= tree.keys()
    with pytest.raises(RuntimeError, match="is away"):
        train(spec, cost=failing, checkpoint_seconds=0, directory=tmp_path / "broken")
    resumed = train(spec, cost=cost, checkpoint_seconds=0, directory=tmp_path / "broken")
    assert resumed.metrics == whole.metrics and len(whole.metrics) == 4
    for ours, theirs in zip(resumed.learners, whole.learners, strict=True):
        assert all(torch.equal(part, theirs.parameters[name]) for name, part in ours.parameters.items())


def test_labels_and_refusal(train: Callable[..., Any]) -> None:
    """Protects the account of labels (reward and cost buy one each), and the user who names no cost."""
    trained = train(small(steps=1), cost=len)
    assert trained.meter.used("labels") == 2 * 8
    free, bought = SimpleNamespace(buys_labels=False), SimpleNamespace(buys_labels=True)
    assert price_labels(free, bought) == (bought, 1) and price_labels(bought, free) == (bought, 1)  # type: ignore[arg-type]
    assert price_labels(bought, bought)[1] == 2 and price_labels(free, free) == (free, 1)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="Name a cost with --cost"):
        train(SMALL)
