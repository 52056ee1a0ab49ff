"""The rollout: sample, score. Every method that learns from its own samples calls it, and nothing else samples.

What stands around it is shared here too: the fields and the prompts of a step, its mini-batches, a score's units, what
policy and reference say of the samples, and what a step's record says of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from preflab import ops
from preflab.batch import KeptTokens, SampledBatch, TokenBatch
from preflab.errors import UserError
from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding, Samples
from preflab.train import faults
from preflab.train.learner import Optim
from preflab.train.loop import Run
from preflab.types import Completion, Prompt

NOTHING_LEARNT = (
    "No step had anything to learn from: every prompt's answers score the same. Ask more answers a prompt, or start from a "
    "policy that is right at times."
)


class OnPolicy(Method):
    """The fields of every method that learns from its own samples step by step. `rollouts`: responses a step, learnt from
    in `mini_batches` shuffled parts, `epochs` times. Under a compute budget `steps` gives way to it."""

    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-5)


def whole_groups(rollouts: int, group: int) -> int:
    """How many prompts' answers are a step's responses; raises `UserError` where `group` does not divide them."""
    if rollouts % group:
        raise UserError(f"{rollouts} rollouts a step are no whole number of groups of {group}: make it a multiple.")
    return rollouts // group


def training_prompts(spec: OnPolicy, parts: Parts) -> list[Prompt]:
    """The prompts to roll out on. Raises `UserError` where there is none, and for a policy that cannot sample."""
    if spec.decoding.temperature <= 0:
        raise UserError("The method samples from its policy: decoding.temperature must be above 0.")
    return parts.prompts()


def mini_batches(spec: OnPolicy, run: Run, step: int, size: int) -> Iterator[list[int]]:
    """The rows of each mini-batch: every epoch a new shuffle, cut into `mini_batches` parts that differ by one at most."""
    parts = min(spec.mini_batches, size)
    for epoch in range(spec.epochs):
        order = run.seeds.permute(size, "mini-batches", step, epoch)
        yield from (order[part * size // parts : (part + 1) * size // parts] for part in range(parts))


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

    def select(self, groups: Sequence[int]) -> Rollout:
        """The given prompts' groups, trimmed to their longest prompt and completion."""
        rows = [row for group in groups for row in range(group * self.group, (group + 1) * self.group)]
        index, samples = torch.tensor(rows), self.samples
        batch = samples.batch.select(index)
        longest = batch.completion_ids.shape[1]
        kept = None if samples.kept is None else samples.kept.select(index, longest)
        chosen = Samples(batch, samples.logprobs[index, :longest], kept, samples.exact)
        prompts, completions = [self.prompts[row] for row in rows], [self.completions[row] for row in rows]
        return Rollout(self.group, prompts, chosen, completions, self.scores[index])


def roll_out(
    parts: Parts,
    policy: LanguageModel,
    prompts: Sequence[Prompt],
    *name: str | int,
    decoding: Decoding,
    group: int = 1,
) -> Rollout:
    """`group` answers of the policy to each prompt, scored by the run's reward. `name` names the draw, once in a run."""
    run = parts.run
    faults.point("rollout.before")
    rows = [prompt for prompt in prompts for _ in range(group)]
    ids = [encoded for prompt in prompts for encoded in [policy.encode_prompt(prompt)] * group]
    seeds = [run.seeds.derive(*name, row) for row in range(len(rows))]
    samples = parts.sampler.sample(policy, ids, seeds=seeds, decoding=decoding)
    completions = policy.completions(samples.batch)
    scores = score_answers(parts, rows, completions, key="-".join(["scores", *map(str, name)]))
    faults.point("rollout.after")
    return Rollout(group, rows, samples, completions, torch.tensor(scores, dtype=torch.float32))


def score_answers(
    parts: Parts, prompts: Sequence[Prompt], completions: Sequence[Completion], *, key: str, own: bool = True
) -> list[float]:
    """The reward's scores; journalled under `key` where asking again could answer differently.

    `own`: the policy wrote the answers. Then the first few go into the step's samples, and the verdicts into its measures.
    """
    run, reward = parts.run, parts.needed_reward()

    def ask() -> list[float]:
        scores = reward.score(prompts, completions)
        if own:
            run.record.verdicts.update(getattr(reward, "outcomes", {}))
        return scores

    scores = ask() if reward.deterministic else run.journal.replay(key, ask)
    if own:
        run.record.show(prompts, completions, scores)
    return scores


def joined(rollouts: Sequence[Rollout]) -> Rollout:
    """Several rollouts of one policy and group size as one, in their order."""
    batches, samples = [rollout.batch for rollout in rollouts], [rollout.samples for rollout in rollouts]
    completion_ids = stacked([batch.completion_ids for batch in batches])
    kept = [sample.kept for sample in samples if sample.kept is not None]
    batch = TokenBatch(
        prompt_ids=stacked([batch.prompt_ids.flip(1) for batch in batches]).flip(1),  # padded on the left
        prompt_lengths=torch.cat([batch.prompt_lengths for batch in batches]),
        completion_ids=completion_ids,
        completion_lengths=torch.cat([batch.completion_lengths for batch in batches]),
        truncated=torch.cat([batch.truncated for batch in batches]),
    )
    together = Samples(
        batch,
        stacked([sample.logprobs for sample in samples]),
        KeptTokens(stacked([each.ids for each in kept]), stacked([each.counts for each in kept])) if kept else None,
        all(sample.exact for sample in samples),
    )
    return Rollout(
        rollouts[0].group,
        [prompt for rollout in rollouts for prompt in rollout.prompts],
        together,
        [completion for rollout in rollouts for completion in rollout.completions],
        torch.cat([rollout.scores for rollout in rollouts]),
    )


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors one below the other, each padded with 0 behind to the widest."""
    shape = [max(tensor.shape[axis] for tensor in tensors) for axis in range(1, tensors[0].dim())]
    out = tensors[0].new_zeros(sum(len(tensor) for tensor in tensors), *shape)
    start = 0
    for tensor in tensors:
        out[(slice(start, start + len(tensor)), *(slice(size) for size in tensor.shape[1:]))] = tensor
        start += len(tensor)
    return out


def asked_prompts(parts: Parts, prompts: Sequence[Prompt], step: int, count: int, labels: int = 1) -> list[Prompt]:
    """The step's prompts: `count` of an endless series of shuffled passes, or as many as a labels budget still pays for
    at `labels` scores each."""
    run = parts.run
    affordable = run.labels.cap_prompts(count, reward=parts.needed_reward(), price=labels)
    return [prompts[row] for row in run.seeds.take_exactly(step, len(prompts), count)[:affordable]]


def shaped(scores: Tensor, *, bias: float, scale: float, clip: float | None) -> Tensor:
    """clip( (score - bias) * scale, +-clip ) (paper, Section 7 [ReaL])."""
    limit = math.inf if clip is None else clip
    return ((scores - bias) * scale).clamp(-limit, limit)


def logprobs_of(model: Any, samples: Samples, *, temperature: float, token_budget: int) -> Tensor:
    """log pi of each sampled token at the sampling temperature, over the ids that the sampler kept: [B,T]."""

    def of(rows: SampledBatch) -> Tensor:
        return forward.token_logprobs(model, rows.batch, temperature=temperature, kept=rows.kept).logprobs

    return forward.by_micro_batch(model, of, SampledBatch(samples.batch, samples.kept), token_budget)


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


def telling(rollout: Rollout) -> Tensor:
    """Bool[P]: whether the scores of a prompt's answers differ."""
    rows = rollout.scores.view(-1, rollout.group)
    return (rows != rows[:, :1]).any(dim=1)


def no_variance(rollout: Rollout) -> float:
    """The share of prompts whose answers all score the same, and teach nothing by their difference; where each prompt has
    one answer, whether the whole rollout does."""
    if rollout.group == 1:
        return float((rollout.scores == rollout.scores[0]).all())
    return 1.0 - float(telling(rollout).float().mean())


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
