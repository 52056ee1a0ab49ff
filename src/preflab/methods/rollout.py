"""The rollout: sample, score. Every method that learns from its own samples calls it, and nothing else samples.

What comes after it is shared here too: a score's units, what policy and reference say of the samples, and what a step's
record says of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from preflab import ops
from preflab.batch import Asked, TokenBatch
from preflab.methods.base import Parts
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding, Samples
from preflab.train import faults
from preflab.types import Completion, Prompt


@dataclass(frozen=True)
class Rollout:
    """`group` answers to each prompt, a prompt's own side by side; B rows in all.

    `prompts`: the prompt of each row. `scores[B]`: as the reward gave them.
    """

    group: int
    prompts: Sequence[Prompt]
    samples: Samples
    completions: Sequence[Completion]
    scores: Tensor

    @property
    def batch(self) -> TokenBatch:
        return self.samples.batch

    def groups(self) -> list[slice]:
        """The rows of each prompt."""
        return [slice(start, start + self.group) for start in range(0, len(self.prompts), self.group)]


def roll_out(
    parts: Parts,
    policy: LanguageModel,
    prompts: Sequence[Prompt],
    *name: str | int,
    decoding: Decoding,
    group: int = 1,
) -> Rollout:
    """`group` answers of the policy to each prompt, scored by the run's reward. `name` names the draw, once in a run."""
    run, reward = parts.run, parts.needed_reward()
    faults.point("rollout.before")
    rows = [prompt for prompt in prompts for _ in range(group)]
    ids = [encoded for prompt in prompts for encoded in [policy.encode_prompt(prompt)] * group]
    seeds = [run.seed_for(*name, row) for row in range(len(rows))]
    samples = parts.sampler.sample(policy, ids, seeds=seeds, decoding=decoding)
    completions = policy.completions(samples.batch)
    scores = run.score(reward, rows, completions, key="-".join(["scores", *map(str, name)]))
    faults.point("rollout.after")
    return Rollout(group, rows, samples, completions, torch.tensor(scores, dtype=torch.float32))


def asked_prompts(parts: Parts, prompts: Sequence[Prompt], step: int, count: int, labels: int = 1) -> list[Prompt]:
    """The step's prompts: `count` of an endless series of shuffled passes, or as many as a labels budget still pays for
    at `labels` scores each."""
    affordable = parts.run.affordable(count, labels, parts.needed_reward())
    return [prompts[row] for row in parts.run.stream(step, len(prompts), count)[:affordable]]


def shaped(scores: Tensor, *, bias: float, scale: float, clip: float | None) -> Tensor:
    """clip( (score - bias) * scale, +-clip ) (paper, Section 7 [ReaL])."""
    limit = math.inf if clip is None else clip
    return ((scores - bias) * scale).clamp(-limit, limit)


def logprobs_of(model: Any, samples: Samples, *, temperature: float, token_budget: int) -> Tensor:
    """log pi of each sampled token at the sampling temperature, over the ids that the sampler kept: [B,T]."""

    def of(rows: Asked) -> Tensor:
        return forward.token_logprobs(model, rows.batch, temperature=temperature, kept=rows.kept).logprobs

    return forward.by_micro_batch(model, of, Asked(samples.batch, samples.kept), token_budget)


def old_and_reference(
    parts: Parts, policy: LanguageModel, reference: Reference, samples: Samples, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """What the policy that drew the samples, and the reference, say of them: [B,T] each; charged."""
    ask = partial(logprobs_of, samples=samples, temperature=temperature, token_budget=parts.token_budget)
    old = samples.logprobs if samples.exact else ask(policy.model)
    with reference.active() as model:
        found = old, ask(model)
    parts.run.meter.forward(policy.size, samples.batch.tokens * (1 if samples.exact else 2))
    return found


def rollout_measures(rollout: Rollout, logprobs: Tensor, reference_logprobs: Tensor) -> dict[str, float]:
    """What the step's rollout looked like. `reward`: the mean score as the reward gave it; `kl`: the mean over responses
    of sum_t log pi - log ref (k1, nats), `kl_k3` its k3 estimate."""
    batch = rollout.batch
    k1 = ops.kl_estimate(logprobs, reference_logprobs, "k1")
    k3 = ops.kl_estimate(logprobs, reference_logprobs, "k3")
    return {
        "reward": float(rollout.scores.mean()),
        "reward_spread": float(rollout.scores.std(correction=0)),
        "kl": float(ops.sequence_sum(k1, batch.mask).mean()),
        "kl_k3": float(ops.sequence_sum(k3, batch.mask).mean()),
        "length": float(batch.completion_lengths.float().mean()),
        "truncated": float(batch.truncated.float().mean()),
    }
