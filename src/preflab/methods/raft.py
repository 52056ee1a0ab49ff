"""RAFT, best-of-n distillation: imitate the best of K answers to each prompt (Dong et al. 2023).

y* = argmax_k r(x, y_k), y_k ~ pi; L = -E_t log pi(y*_t | x, y*_<t), averaged over all tokens of a mini-batch.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.sft import nll
from preflab.methods.shared.rollout import (
    Rollout,
    count_groups,
    cut_mini_batches,
    require_sampling,
    require_updates,
    roll_out,
    share_without_variance,
    take_prompts,
)
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim


class RAFT(Method):
    """The authors' largest K, 32, and learning rate, 2e-5.

    `rollouts` counts all answers of a step, `group` to each prompt. The best of each group is learned from: rollouts / group
    answers, in `mini_batches`, `epochs` times. Of equal scores the first is the best. `drop_ties`: a prompt whose answers
    all score the same is left out. A compute budget overrides `steps`."""

    kind: Literal["raft"] = "raft"
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=2e-5)
    group: int = Field(default=32, ge=2)
    drop_ties: bool = False

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        count_groups(self.rollouts, self.group)
        return self

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        require_sampling(self.decoding)
        prompts, learner = parts.prompts(), parts.learner(policy.model, self.optim)
        share = run.labels.share_of(self.steps, reward=parts.needed_reward(), price=self.group)
        for step in run.steps(share, {"policy": learner}, policy=policy, validate=parts.validate):
            # 1. Roll out: a group of answers to each of the step's prompts, and their scores.
            chosen = take_prompts(parts, prompts, step, count_groups(self.rollouts, self.group), price=self.group)
            rollout = roll_out(parts, policy, chosen, "rollout", step, decoding=self.decoding, group=self.group)
            # 2. The best of each group.
            best = find_best(rollout, drop_ties=self.drop_ties)
            run.record.log(measure_groups(rollout) | {"kept": len(best)})
            if not best:
                continue
            # 3. Imitate them, in shuffled mini-batches.
            data = rollout.batch.select(best)
            for rows in cut_mini_batches(run, step, len(data), count=self.mini_batches, epochs=self.epochs):
                batch = data.select(rows)
                count = float(batch.completion_lengths.sum())
                update = learner.step(batch, lambda rows: nll(policy, rows), count=count, progress=run.progress)
                run.record.log(update, "policy/")
        require_updates(learner.updates)
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Every answer is drawn and scored; the best of each group is trained on."""
        answers = self.steps * self.rollouts
        return Cost(drawn=answers, scored=answers, trained=self.epochs * answers / self.group)


def find_best(rollout: Rollout, *, drop_ties: bool) -> list[int]:
    """The row of each prompt's best answer, the first of equals. `drop_ties`: without prompts whose answers all score the
    same."""
    scores = rollout.scores.view(-1, rollout.group)
    rows = torch.arange(len(scores)) * rollout.group + scores.argmax(dim=1)
    return (rows[rollout.differing()] if drop_ties else rows).tolist()


def measure_groups(rollout: Rollout) -> dict[str, float]:
    """`reward`: the mean score of all answers; `best_reward`: that of the best ones."""
    lengths, truncated = rollout.batch.completion_lengths.float(), rollout.batch.truncated.float()
    return {
        "reward": float(rollout.scores.mean()),
        "best_reward": float(rollout.scores.view(-1, rollout.group).max(dim=1).values.mean()),
        "no_variance": share_without_variance(rollout),
        "length": float(lengths.mean()),
        "truncated": float(truncated.mean()),
    }
