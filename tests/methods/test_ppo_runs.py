"""Whole runs of PPO: what a checkpoint holds, that a broken run ends the same, what a step costs, and that it learns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.methods import ppo
from preflab.methods.ppo import PPO
from preflab.models.heads import make_reward_model
from preflab.rewards.learned import Learned
from preflab.sampling.base import Decoding
from preflab.spec import Context
from preflab.train import checkpoint
from preflab.train.learner import Optim

STEADY = Optim(learning_rate=0.01, warmup=0.0, schedule="constant")
SMALL = PPO(steps=2, rollouts=8, mini_batches=2, decoding=Decoding(max_new_tokens=4), optim=STEADY, critic_optim=STEADY)
END = 1  # the tiny model's end-of-turn token


def small(**fields: Any) -> PPO:
    return SMALL.model_copy(update=fields)


# --- checkpoints

EVERYTHING = small(
    steps=4, epochs=2, reference_ema=0.3, kl_target=0.01, kl_horizon=50, truncated="score", value_decay=0.5, lam=0.9
)


def test_a_checkpoint_holds_all_that_ppo_carries_along(train: Callable[..., Any]) -> None:
    """Protects from the known defect that optimizers and value normalisation are lost: both Adams, both schedules, the
    moments of the values, the KL coefficient and the moving reference are in the checkpoint, as they are at the end."""
    trained = train(EVERYTHING, checkpoint_seconds=0)
    tree = checkpoint.read_newest_checkpoint(trained.directory / "checkpoints")
    assert tree is not None and tree["step"] == 4
    for learner, name in zip(trained.learners, ("policy", "critic"), strict=True):
        saved = tree[name]
        assert saved["position"] == learner.position > 0 and saved["weights"].keys() == learner.parameters.keys()
        for parameter_name, parameter in learner.parameters.items():
            moments = learner.optimizer.state[parameter]
            assert torch.equal(saved["weights"][parameter_name], parameter)
            assert {key: float(tensor.abs().sum()) for key, tensor in saved["adam"][parameter_name].items()} == {
                key: float(tensor.abs().sum()) for key, tensor in moments.items()
            }
    assert tree["moments"]["weight"] == pytest.approx(1 - 0.5**4) and tree["moments"]["square_sum"] > 0
    assert tree["kl"]["coefficient"] != EVERYTHING.kl_coefficient
    assert tree["reference"].keys() == tree["policy"]["weights"].keys()
    assert any(not torch.equal(tree["reference"][name], weight) for name, weight in tree["policy"]["weights"].items())


def test_a_frozen_reference_is_not_in_the_checkpoint(train: Callable[..., Any]) -> None:
    """At eta 0 it is the start itself, which a resumed run has."""
    tree = checkpoint.read_newest_checkpoint(
        train(small(reference_ema=0.0), checkpoint_seconds=0).directory / "checkpoints"
    )
    assert tree is not None and "reference" not in tree


@pytest.mark.parametrize("spec", [EVERYTHING, small(steps=4, reference_ema=0.0, critic_warmup=1)])
def test_a_run_that_broke_off_ends_the_same(spec: PPO, train: Callable[..., Any], tmp_path: Path) -> None:
    """The reward fails in the third step; the run goes on from its checkpoint. Weights, critic and metrics are, bit for
    bit, those of a run that was left alone."""
    calls = iter(range(1, 1000))

    def failing(text: str) -> float:
        if next(calls) > 20:
            raise RuntimeError("the reward is away")
        return float(len(text))

    whole = train(spec, checkpoint_seconds=0)
    with pytest.raises(RuntimeError, match="is away"):
        train(spec, reward=failing, checkpoint_seconds=0, directory=tmp_path / "broken")
    resumed = train(spec, checkpoint_seconds=0, directory=tmp_path / "broken")
    assert resumed.metrics == whole.metrics and len(whole.metrics) == 4
    for ours, theirs in zip(resumed.learners, whole.learners, strict=True):
        assert all(torch.equal(part, theirs.parameters[name]) for name, part in ours.parameters.items())


# --- what it costs


def test_compute_and_labels_of_a_step(
    train: Callable[..., Any], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By hand, N the policy's and C the critic's parameters, t the tokens of prompts and answers, p those of distinct
    prompts, n the drawn ones: 2N (p + n) + 2N t + 2C t + 2 epochs x (6N t + 6C t), and a label an answer. A learned reward
    of R parameters costs 2R a token instead of labels."""
    policy, spec = tiny(), small(steps=1, rollouts=8, epochs=2)
    batches: list[Any] = []
    assess = ppo.assess_with_critic
    monkeypatch.setattr(ppo, "assess_with_critic", lambda *args: batches.append(args[2].batch) or assess(*args))
    trained = train(spec, policy=policy)
    actor, value = trained.learners
    batch, n, c = batches[-1], actor.size, value.size
    rows = zip(batch.prompt_ids.tolist(), batch.prompt_lengths.tolist(), strict=True)
    prompts = {tuple(ids[-length:]) for ids, length in rows}
    assert len(prompts) < 8  # some prompts are alike, and are read once
    p, t = sum(len(prompt) for prompt in prompts), batch.tokens
    drawn = int(batch.completion_lengths.sum())
    assert n == sum(part.numel() for part in policy.model.parameters())
    assert (
        c == sum(part.numel() for part in value.model.parameters()) == n + 16 + 1
    )  # tied embeddings; a head of 16 + 1
    flops = 2 * n * (p + drawn) + 2 * n * t + 2 * c * t + 2 * (6 * n * t + 6 * c * t)
    counts = {"flops": flops, "labels": 8, "sampled_tokens": drawn, "forward_tokens": 2 * t, "trained_tokens": 4 * t}
    assert trained.meter.counts == counts

    scorer = make_reward_model(tiny(), seed=0)
    scorer.save(tmp_path / "scorer")
    answers: list[Any] = []
    completions = type(policy).completions
    monkeypatch.setattr(type(policy), "completions", lambda *args: answers.extend(completions(*args)) or answers)
    learned = Learned(path=str(tmp_path / "scorer"))
    trained = train(spec, policy=tiny(), open_reward=lambda run: learned.open(Context(meter=run.meter)).__enter__())
    read = int(batches[-1].prompt_lengths.sum()) + sum(
        len(scorer.encode_completion(answer) or [END]) for answer in answers
    )
    assert trained.meter.counts["flops"] == flops + 2 * scorer.size * read and trained.meter.used("labels") == 0


# --- it learns


def share_of_numbers(text: str) -> float:
    return len(re.findall(r"(?<!\S)\d+(?!\S)", text)) / 4


def test_ppo_learns(train: Callable[..., Any], tiny: Callable[..., Any]) -> None:
    """From a model that knows nothing, which writes a number of two digits at most about every fifth token, to one that
    writes little else; the critic's error falls below what a constant would leave."""
    spec = PPO(
        steps=26,
        rollouts=48,
        decoding=Decoding(max_new_tokens=4),
        truncated="score",
        kl_coefficient=0.01,
        optim=Optim(learning_rate=0.01),
        critic_optim=Optim(learning_rate=0.01),
    )
    trained = train(spec, policy=tiny(32), reward=share_of_numbers, token_budget=2048)
    rewards = [record["reward"] for record in trained.metrics]
    assert rewards[0] < 0.35 and sum(rewards[-3:]) / 3 > 0.8
