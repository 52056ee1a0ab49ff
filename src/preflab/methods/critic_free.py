"""Policy gradients without a critic: the one loop of GRPO, RLOO, REINFORCE++ and ReMax.

They differ in what an answer is measured against: its group's mean, the other answers, the whole batch, the greedy answer.
That is one function `Assessed -> advantages[B,T]` in each method's own file; all else stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor

from preflab import dist, ops
from preflab.batch import Experience
from preflab.errors import UserError
from preflab.fields import Count
from preflab.methods.base import Parts
from preflab.methods.rollout import (
    NOTHING_LEARNT,
    Rollout,
    asked_prompts,
    mini_batches,
    no_variance,
    old_and_reference,
    roll_out,
    rollout_measures,
    shaped,
    training_prompts,
    whole_groups,
)
from preflab.methods.surrogate import Surrogate, actor_terms
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.train.learner import Terms
from preflab.train.loop import Stateful
from preflab.types import Prompt


class CriticFree(Surrogate):
    """The fields that the four share. `rollouts` counts responses, `group` of them to each prompt. `loss_average`: see
    `ops.average_weights`; its constant is `decoding.max_new_tokens`. No critic can say what a truncated answer would have
    come to: it is scored as it stands, or by choice ignored (its advantage is 0; it still counts as a row, and a
    KL term of the loss still holds it)."""

    group: Count = 4
    loss_average: ops.LossAverage = "token"
    truncated: Literal["score", "ignore"] = "score"

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        whole_groups(self.rollouts, self.group)
        return self


class Assessed(NamedTuple):
    """What an advantage is made of. `scores[B]`: shaped; `kl[B,T]`: the KL coefficient times log pi - log ref (k1), 0 where
    the mask is False; `step`: which it is, to name a draw by."""

    step: int
    rollout: Rollout
    scores: Tensor
    kl: Tensor

    @property
    def mask(self) -> Tensor:
        return self.rollout.batch.mask


Advantage = Callable[[Assessed], Tensor]
Draw = Callable[[list[Prompt], int], Rollout | None]


def improve(
    spec: CriticFree,
    parts: Parts,
    advantages: Advantage,
    *,
    kl_in_loss: bool = False,
    draw: Draw | None = None,
    baselines: int = 0,
) -> LanguageModel:
    """Trains the policy. `kl_in_loss`: the KL penalty is a term of the loss (k3), else `advantages` has it in its rewards.
    `draw`: another way to a step's rollout, None where it found nothing to learn from. `baselines`: scores that
    `advantages` buys beside each group's own."""
    run, policy = parts.run, parts.policy
    prompts, labels = training_prompts(spec, parts), spec.group + baselines
    draw = draw or partial(draw_groups, spec, parts, labels)
    learner, reference = parts.learner(policy.model, spec.optim), Reference(policy.model)
    state: dict[str, Stateful] = {"policy": learner}
    if spec.reference_ema:
        state["reference"] = reference
    share = run.labels.share_of(spec.steps, reward=parts.needed_reward(), price=labels)
    for step in run.steps(share, state, policy=policy, validate=parts.validate):
        # 1. Roll out: a group of answers to each of the step's prompts, and their scores.
        rollout = draw(prompts, step)
        if rollout is None:
            continue
        # 2. What the reference says of them; shaped scores, the KL, and each token's advantage.
        experience = assess(spec, parts, step, rollout, reference, advantages)
        # 3. The clipped surrogate on shuffled mini-batches.
        for rows in mini_batches(spec, run, step, len(experience)):
            batch = experience.select(rows)
            tokens = float(batch.batch.completion_lengths.sum())
            mean_length = dist.all_count(tokens) / dist.all_count(len(batch))
            loss = partial(weighted_terms, spec, policy, mean_length, spec.kl_coefficient if kl_in_loss else 0.0)
            update = learner.step(batch, loss, count=tokens, progress=run.progress, guard=spec.too_far)
            run.record.log(update, "policy/")
        # 4. Log the rollout's measures; the reference follows the policy.
        seen = rollout_measures(rollout, experience.logprobs, experience.reference_logprobs)
        run.record.log(seen | {"skipped": learner.skipped})
        if spec.reference_ema:
            reference.follow(spec.reference_ema)
    if not learner.updates + learner.skipped:
        raise UserError(NOTHING_LEARNT)
    return policy


def draw_groups(spec: CriticFree, parts: Parts, labels: int, prompts: list[Prompt], step: int) -> Rollout:
    """The step's rollout: `group` answers to each of the next prompts; `labels`: the scores that a prompt costs."""
    asked = asked_prompts(parts, prompts, step, whole_groups(spec.rollouts, spec.group), labels)
    rollout = roll_out(parts, parts.policy, asked, "rollout", step, decoding=spec.decoding, group=spec.group)
    parts.run.record.log({"no_variance": no_variance(rollout)})
    return rollout


def assess(
    spec: CriticFree, parts: Parts, step: int, rollout: Rollout, reference: Reference, advantages: Advantage
) -> Experience:
    """The experience of a rollout: the method's advantages, without a critic's values and returns."""
    batch = rollout.batch
    logprobs, reference_logprobs = old_and_reference(
        parts, parts.policy, reference, rollout.samples, temperature=spec.decoding.temperature
    )
    scores = shaped(rollout.scores, bias=spec.reward_bias, scale=spec.reward_scale, clip=spec.reward_clip)
    kl = spec.kl_coefficient * ops.kl_estimate(logprobs, reference_logprobs, "k1")
    found = advantages(Assessed(step, rollout, scores, torch.where(batch.mask, kl, torch.zeros_like(kl))))
    if spec.truncated == "ignore":
        found = torch.where(batch.truncated[:, None], torch.zeros_like(found), found)
    return Experience(
        batch=batch,
        logprobs=logprobs,
        reference_logprobs=reference_logprobs,
        advantages=found,
        kept=rollout.samples.kept,
    )


def weighted_terms(
    spec: CriticFree, policy: LanguageModel, mean_length: float, kl_loss: float, rows: Experience
) -> Terms:
    """The surrogate's terms [B,T], weighted so that their mean over the mini-batch's tokens is the spec's average."""
    found = actor_terms(spec, policy, rows, kl_loss=kl_loss)
    lengths, limit = rows.batch.completion_lengths, spec.decoding.max_new_tokens
    weights = ops.average_weights(lengths, spec.loss_average, mean_length=mean_length, limit=limit)
    return found._replace(terms=found.terms * weights[:, None])
