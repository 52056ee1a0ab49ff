"""Draws and scores rollouts. Every method that learns from samples of its policy draws the samples with this module.

This module also chooses the prompts of a step, cuts a rollout into mini-batches, and logs measures of the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from preflab.batch import KeptTokens, TokenBatch, stack
from preflab.errors import UserError
from preflab.methods.base import Parts
from preflab.methods.shared.stored_samples import replay_samples
from preflab.sampling.base import Decoding, Samples
from preflab.train import faults
from preflab.train.loop import Run
from preflab.types import Completion, Prompt


@dataclass(frozen=True)
class Rollout:
    """Sampled answers with their scores, in B rows. Each prompt has `group` answers, in consecutive rows.

    `prompts`: the prompt of each row. `scores[B]`: the reward's scores, before shaping.
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
        """Returns one slice for each prompt: the rows of the answers to this prompt."""
        return [slice(start, start + self.group) for start in range(0, len(self.prompts), self.group)]

    def differing(self) -> Tensor:
        """Returns Bool[P] for P prompts: True if the answers to the prompt have different scores."""
        rows = self.scores.view(-1, self.group)
        return (rows != rows[:, :1]).any(dim=1)

    def share_without_variance(self) -> float:
        """Returns the share of prompts whose answers all score the same. The method cannot learn from such a prompt,
        because no answer is better than another. If each prompt has only one answer, returns 1 if all answers of the
        rollout score the same, and 0 otherwise."""
        if self.group == 1:
            return float((self.scores == self.scores[0]).all())
        return 1.0 - float(self.differing().float().mean())

    def measure(self) -> dict[str, float]:
        """Returns three measures. `reward`: the mean of the reward's scores, before shaping. `length`: the mean number
        of tokens of an answer. `truncated`: the share of truncated answers."""
        return {
            "reward": float(self.scores.mean()),
            "length": float(self.batch.completion_lengths.float().mean()),
            "truncated": float(self.batch.truncated.float().mean()),
        }

    def select(self, groups: Sequence[int]) -> Rollout:
        """Returns a rollout that contains only the groups with these indices, trimmed to the longest remaining prompt
        and completion."""
        rows = [row for group in groups for row in range(group * self.group, (group + 1) * self.group)]
        index, samples = torch.tensor(rows), self.samples
        batch = samples.batch.select(index)
        longest = batch.completion_ids.shape[1]
        kept = None if samples.kept is None else samples.kept.select(index, longest)
        chosen = replace(samples, batch=batch, logprobs=samples.logprobs[index, :longest], kept=kept)
        prompts, completions = [self.prompts[row] for row in rows], [self.completions[row] for row in rows]
        return Rollout(self.group, prompts, chosen, completions, self.scores[index])

    @staticmethod
    def join(rollouts: Sequence[Rollout]) -> Rollout:
        """Joins several rollouts into one, in their order. All rollouts must come from the same policy and have the
        same group size."""
        samples = [rollout.samples for rollout in rollouts]
        kept = [sample.kept for sample in samples if sample.kept is not None]
        batch = TokenBatch.join([rollout.batch for rollout in rollouts])
        together = Samples(
            batch,
            stack([sample.logprobs for sample in samples]),
            KeptTokens(stack([each.ids for each in kept]), stack([each.counts for each in kept])) if kept else None,
            all(sample.exact for sample in samples),
            samples[0].importance_cap,
        )
        return Rollout(
            rollouts[0].group,
            [prompt for rollout in rollouts for prompt in rollout.prompts],
            together,
            [completion for rollout in rollouts for completion in rollout.completions],
            torch.cat([rollout.scores for rollout in rollouts]),
        )


class Grouped(Protocol):
    """The settings of a method that draws `rollouts` answers in each step: `group` answers to each of `rollouts` /
    `group` prompts."""

    rollouts: int
    group: int


_Grouped = TypeVar("_Grouped", bound=Grouped)


def require_whole_groups(spec: _Grouped) -> _Grouped:
    """Checks the group size of a method and returns the method's spec. Raises `UserError` if `rollouts` is not a
    multiple of `group`."""
    rollouts, group = spec.rollouts, spec.group
    if rollouts % group:
        raise UserError(
            f"`rollouts` is {rollouts}, which is not a multiple of `group` ({group}). Set `rollouts` to a multiple."
        )
    return spec


def require_sampling(decoding: Decoding) -> None:
    """Raises `UserError` if the decoding is greedy, because the method learns from differences between samples."""
    if decoding.temperature <= 0:
        raise UserError("This method needs different samples of its policy: decoding.temperature must be above 0.")


def require_updates(updates: int) -> None:
    """Raises `UserError` if no step of the run made an update."""
    if not updates:
        raise UserError(
            "No step had anything to learn from: for every prompt, all answers score the same. Draw more answers to "
            "each prompt, or start from a policy that is sometimes right."
        )


def take_prompts(parts: Parts, prompts: Sequence[Prompt], step: int, count: int, *, price: int) -> list[Prompt]:
    """Returns the prompts of a step: the next `count` prompts from an endless series of shuffled passes over `prompts`.
    `price`: the number of scores that each prompt costs. Returns fewer prompts if the labels budget cannot pay for all
    `count` prompts."""
    run = parts.run
    affordable = run.labels.cap_prompts(count, reward=parts.needed_reward(), price=price)
    return [prompts[row] for row in run.seeds.take_exactly(step, len(prompts), count)[:affordable]]


def cut_mini_batches(
    run: Run, step: int, size: int, *, count: int, epochs: int
) -> Iterator[tuple[Sequence[int], float]]:
    """Yields the rows of each mini-batch, and the progress of the run at the midpoint of the update on these rows.
    Every epoch shuffles the rows again and cuts them into `count` mini-batches, whose sizes differ by one row at
    most."""
    count = min(count, size)
    for epoch in range(epochs):
        order = run.seeds.permute(size, "mini-batches", step, epoch)
        for part in range(count):
            progress = run.progress_of_update(epoch * count + part, epochs * count)
            yield order[part * size // count : (part + 1) * size // count], progress


def draw_rollout(
    parts: Parts, prompts: Sequence[Prompt], step: int, *, count: int, group: int = 1, price: int, decoding: Decoding
) -> Rollout:
    """Draws the rollout of a step: `group` answers to each of the next `count` prompts. A labels budget can reduce the
    number of prompts (see `take_prompts`). `price`: the number of scores that each prompt costs."""
    chosen = take_prompts(parts, prompts, step, count, price=price)
    rollout = roll_out(parts, chosen, "rollout", step, decoding=decoding, group=group)
    parts.run.record.log({"no_variance": rollout.share_without_variance()})
    return rollout


def roll_out(parts: Parts, prompts: Sequence[Prompt], *name: str | int, decoding: Decoding, group: int = 1) -> Rollout:
    """Draws `group` answers of the policy to each prompt, and scores them with the run's reward. `name`: the seeds of
    the draw are derived from this name, and the run's journal stores the scores under it, and the samples of a sampler
    that is not repeatable. Every draw of a run needs a different name."""
    run, policy = parts.run, parts.policy
    faults.pass_point("rollout.before")
    rows = [prompt for prompt in prompts for _ in range(group)]
    ids = [encoded for prompt in prompts for encoded in [policy.encode_prompt(prompt)] * group]
    seeds = [run.seeds.derive(*name, row) for row in range(len(rows))]
    draw = partial(parts.sampler.sample, policy, ids, seeds=seeds, decoding=decoding)
    key = "-".join(["samples", *map(str, name)])
    samples = draw() if parts.sampler.repeatable else replay_samples(run.journal, key, ids, draw)
    completions = policy.completions(samples.batch)
    scores = score_answers(parts, rows, completions, key="-".join(["scores", *map(str, name)]), own=True)
    faults.pass_point("rollout.after")
    return Rollout(group, rows, samples, completions, torch.tensor(scores, dtype=torch.float32))


def score_answers(
    parts: Parts, prompts: Sequence[Prompt], completions: Sequence[Completion], *, key: str, own: bool
) -> list[float]:
    """Returns the reward's scores of the answers. If the reward is not deterministic, the run's journal stores the
    scores under `key`, so that a resumed run reads the same scores.

    `own`: whether the policy wrote the answers. If True, the first few answers are added to the samples of the step,
    and the reward's verdicts are added to the metrics of the step.
    """
    record, reward = parts.run.record, parts.needed_reward()

    def ask() -> list[float]:
        scores = reward.score(prompts, completions)
        if own:
            record.verdicts.update(reward.outcomes)
        return scores

    scores = ask() if reward.deterministic else parts.run.journal.replay(key, ask)
    if own:
        record.show(prompts, completions, scores)
    return scores
