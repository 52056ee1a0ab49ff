"""RAFT, or best-of-n distillation, imitates the best of K answers to each prompt (Dong et al. 2023).

y* = argmax_k r(x, y_k), y_k ~ pi; L = -E_t log pi(y*_t | x, y*_<t), averaged over all tokens of a mini-batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.sft import nll
from preflab.methods.shared.rollout import (
    Rollout,
    cut_mini_batches,
    draw_rollout,
    require_sampling,
    require_updates,
    require_whole_groups,
)
from preflab.models.lm import LanguageModel
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim


class RAFT(Method):
    """The defaults are the authors' largest K, 32, and their learning rate, 2e-5.

    `rollouts`: the total number of answers in a step. `group`: the number K of answers to each prompt. The policy
    trains on the best answer to each prompt, that is, on `rollouts` / `group` answers in each step. The policy trains
    on these answers in `mini_batches` mini-batches for `epochs` epochs. If several answers have the highest score, the
    first of these answers counts as the best. `drop_ties`: if true, prompts whose answers all score the same are left
    out. If the run has a compute budget, `steps` is ignored."""

    kind: Literal["raft"] = "raft"
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=2e-5)
    group: int = Field(default=32, ge=2)
    drop_ties: bool = False

    _groups_are_whole = model_validator(mode="after")(require_whole_groups)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        require_sampling(self.decoding)
        prompts, learner = parts.prompts(), parts.learner(policy.model, self.optim)
        count, group = self.rollouts // self.group, self.group
        share = run.labels.share_of(self.steps, reward=parts.needed_reward(), price=group)
        for step in run.steps(share, {"policy": learner}, policy=policy, validate=parts.validate):
            # 1. Draw a group of answers to each of the step's prompts and score them.
            rollout = draw_rollout(parts, prompts, step, count=count, group=group, price=group, decoding=self.decoding)
            # 2. Find the best answer of each group.
            best = find_best(rollout, drop_ties=self.drop_ties)
            best_reward = float(rollout.scores.view(-1, group).max(dim=1).values.mean())
            run.record.log(rollout.measure() | {"best_reward": best_reward, "kept": len(best)})
            if not best:
                continue
            # 3. Imitate the best answers, in shuffled mini-batches.
            data = rollout.batch.select(best)
            for rows, progress in cut_mini_batches(run, step, len(data), count=self.mini_batches, epochs=self.epochs):
                batch = data.select(rows)
                tokens = float(batch.completion_lengths.sum())
                update = learner.step(batch, lambda rows: nll(policy, rows), count=tokens, progress=progress)
                run.record.log(update, "policy/")
        require_updates(learner.updates)
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of the run. Every answer is drawn and scored. The policy trains only on the best answer of
        each group."""
        answers = self.steps * self.rollouts
        return Cost(drawn=answers, scored=answers, trained=self.epochs * answers / self.group)


def find_best(rollout: Rollout, *, drop_ties: bool) -> list[int]:
    """Returns the row of the best answer to each prompt. If several answers have the highest score, returns the row of
    the first of these answers. `drop_ties`: if true, prompts whose answers all score the same are left out."""
    scores = rollout.scores.view(-1, rollout.group)
    rows = torch.arange(len(scores)) * rollout.group + scores.argmax(dim=1)
    return (rows[rollout.differing()] if drop_ties else rows).tolist()
