"""What the tests of the methods without a critic share: a rollout made by hand, and a task that is learnt in seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from preflab.batch import TokenBatch, collate
from preflab.methods.shared.advantage import Assessed
from preflab.methods.shared.rollout import Rollout
from preflab.sampling.base import Decoding, Samples
from preflab.train.learner import Optim
from preflab.types import Completion, Prompt

STEADY = Optim(learning_rate=0.01, warmup=0.0, schedule="constant")
SHORT = Decoding(max_new_tokens=4)


def rolled(
    scores: Sequence[float], *, group: int = 1, lengths: Sequence[int] | None = None, batch: TokenBatch | None = None
) -> Rollout:
    """One answer a score, of `lengths` tokens (2 each where none are given), a prompt's `group` side by side."""
    sizes = lengths or [2] * len(scores)
    batch = batch or collate([[5 + row // group] for row in range(len(scores))], [[9] * size for size in sizes])
    prompts = [Prompt(f"p{row // group}", ()) for row in range(len(scores))]
    texts = [Completion(f"a{row}") for row in range(len(scores))]
    samples = Samples(batch, torch.zeros(batch.completion_ids.shape))
    return Rollout(group, prompts, samples, texts, torch.tensor(scores, dtype=torch.float32))


def assessed(rollout: Rollout, kl: Sequence[Sequence[float]] | None = None) -> Assessed:
    """The rollout with its scores as they are, and a KL penalty a token (0 where none is given)."""
    penalty = torch.zeros(rollout.batch.mask.shape) if kl is None else torch.tensor(kl)
    return Assessed(0, rollout, rollout.scores, penalty)


def rows(values: Tensor) -> list[list[float]]:
    """A tensor rounded to 4 digits, for golden values."""
    return [[round(float(value), 4) + 0.0 for value in row] for row in values]


def share_of_numbers(text: str) -> float:
    """A model that knows nothing writes a number about every fifth token; one that has learnt writes little else."""
    return len(re.findall(r"(?<!\S)\d+(?!\S)", text)) / 4


def learns(train: Callable[..., Any], tiny: Callable[..., Any], spec: Any) -> tuple[float, float]:
    """The mean reward of the first step and of the last three."""
    rewards = [
        record["reward"]
        for record in train(spec, policy=tiny(32), reward=share_of_numbers, token_budget=2048).metrics
        if "reward" in record
    ]
    return rewards[0], sum(rewards[-3:]) / 3
