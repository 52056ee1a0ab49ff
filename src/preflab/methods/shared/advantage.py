"""Policy gradients without a critic: the one loop of GRPO, RLOO, REINFORCE++ and ReMax.

They differ in what an answer is measured against: its group's mean, the other answers, the whole batch, the greedy answer.
That is one function `Assessed -> advantages[B,T]` in the file of each method.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from preflab import dist, ops
from preflab.batch import Experience
from preflab.methods.base import Parts
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
from preflab.methods.shared.surrogate import (
    actor_terms,
    ask_old_and_reference,
    make_guard,
    measure_rollout,
    shape_scores,
)
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim, Terms
from preflab.train.loop import Stateful
from preflab.types import Prompt


class CriticFree(Protocol):
    """The settings that the loop reads. Each of the four methods states them, with its authors' values.

    `rollouts`: responses a step, `group` of them to each prompt; they are learned from in `mini_batches` shuffled parts,
    `epochs` times. A compute budget overrides `steps`. `clip`, `clip_high`: see `actor_terms`.
    `reward_bias`, `reward_scale`, `reward_clip`: see `shape_scores`. `reference_ema`: the rate at which the reference
    follows the policy. `ratio_guard`: see `make_guard`. None turns a clip or the guard off. `loss_average`: see
    `ops.average_weights`; its constant is `decoding.max_new_tokens`.

    No critic can say what a truncated answer would have come to. `truncated` score: it is scored as it stands. Ignore: its
    advantage is 0; it still counts as a row, and a KL term of the loss still holds it.
    """

    steps: int
    rollouts: int
    mini_batches: int
    epochs: int
    decoding: Decoding
    optim: Optim
    clip: float
    clip_high: float | None
    kl_coefficient: float
    reward_scale: float
    reward_bias: float
    reward_clip: float | None
    reference_ema: float
    ratio_guard: float | None
    group: int
    loss_average: ops.LossAverage
    truncated: Literal["score", "ignore"]


class Assessed(NamedTuple):
    """A rollout with what its advantages are made of. `scores[B]`: shaped. `kl[B,T]`: the KL coefficient times log pi - log ref
    (k1), 0 where the mask is False. `step`: its number, to name a draw by."""

    step: int
    rollout: Rollout
    scores: Tensor
    kl: Tensor

    @property
    def mask(self) -> Tensor:
        return self.rollout.batch.mask


Advantage = Callable[[Assessed], Tensor]
RollOut = Callable[[list[Prompt], int], Rollout | None]


def improve(
    spec: CriticFree,
    parts: Parts,
    advantages: Advantage,
    *,
    kl_in_loss: bool = False,
    draw: RollOut | None = None,
    baselines: int = 0,
) -> LanguageModel:
    """Trains the policy.

    `kl_in_loss`: the KL penalty is a term of the loss (k3); otherwise `advantages` has it in its rewards. `draw`: another way
    to draw a step's rollout; it returns None where there is nothing to learn from. `baselines`: how many scores of each
    prompt `advantages` buys beside its group's own."""
    run, policy = parts.run, parts.policy
    require_sampling(spec.decoding)
    prompts, price = parts.prompts(), spec.group + baselines
    draw = draw or partial(draw_groups, spec, parts, price)
    learner, reference = parts.learner(policy.model, spec.optim), Reference(policy.model)
    state: dict[str, Stateful] = {"policy": learner}
    if spec.reference_ema:
        state["reference"] = reference
    share = run.labels.share_of(spec.steps, reward=parts.needed_reward(), price=price)
    for step in run.steps(share, state, policy=policy, validate=parts.validate):
        # 1. Roll out: a group of answers to each of the step's prompts, and their scores.
        rollout = draw(prompts, step)
        if rollout is None:
            continue
        # 2. The reference's log-probabilities; shaped scores, the KL, and each token's advantage.
        experience = assess_rollout(spec, parts, step, rollout, reference, advantages)
        # 3. The clipped surrogate on shuffled mini-batches.
        for rows in cut_mini_batches(run, step, len(experience), count=spec.mini_batches, epochs=spec.epochs):
            batch = experience.select(rows)
            tokens = float(batch.batch.completion_lengths.sum())
            mean_length = dist.all_count(tokens) / dist.all_count(len(batch))
            loss = partial(weigh_terms, spec, policy, mean_length, spec.kl_coefficient if kl_in_loss else 0.0)
            guard = make_guard(spec.ratio_guard)
            run.record.log(learner.step(batch, loss, count=tokens, progress=run.progress, guard=guard), "policy/")
        # 4. Log the rollout's measures; the reference follows the policy.
        measures = measure_rollout(rollout, experience.logprobs, experience.reference_logprobs)
        run.record.log(measures | {"skipped": learner.skipped})
        if spec.reference_ema:
            reference.follow(spec.reference_ema)
    require_updates(learner.updates + learner.skipped)
    return policy


def draw_groups(spec: CriticFree, parts: Parts, price: int, prompts: list[Prompt], step: int) -> Rollout:
    """The step's rollout: `group` answers to each of the next prompts; `price`: the scores that a prompt costs."""
    chosen = take_prompts(parts, prompts, step, count_groups(spec.rollouts, spec.group), price=price)
    rollout = roll_out(parts, parts.policy, chosen, "rollout", step, decoding=spec.decoding, group=spec.group)
    parts.run.record.log({"no_variance": share_without_variance(rollout)})
    return rollout


def assess_rollout(
    spec: CriticFree, parts: Parts, step: int, rollout: Rollout, reference: Reference, advantages: Advantage
) -> Experience:
    """The experience of a rollout: the method's advantages, without a critic's values and returns."""
    batch = rollout.batch
    logprobs, reference_logprobs = ask_old_and_reference(
        parts, parts.policy, reference, rollout.samples, temperature=spec.decoding.temperature
    )
    scores = shape_scores(rollout.scores, bias=spec.reward_bias, scale=spec.reward_scale, clip=spec.reward_clip)
    kl = spec.kl_coefficient * ops.kl_estimate(logprobs, reference_logprobs, "k1")
    values = advantages(Assessed(step, rollout, scores, torch.where(batch.mask, kl, torch.zeros_like(kl))))
    if spec.truncated == "ignore":
        values = torch.where(batch.truncated[:, None], torch.zeros_like(values), values)
    return Experience(
        batch=batch,
        logprobs=logprobs,
        reference_logprobs=reference_logprobs,
        advantages=values,
        kept=rollout.samples.kept,
    )


def weigh_terms(spec: CriticFree, policy: LanguageModel, mean_length: float, kl_loss: float, rows: Experience) -> Terms:
    """The surrogate's terms [B,T], weighted so that their mean over the mini-batch's tokens is the spec's average."""
    temperature = spec.decoding.temperature
    actor = actor_terms(
        policy, rows, clip=spec.clip, clip_high=spec.clip_high, temperature=temperature, kl_loss=kl_loss
    )
    lengths, limit = rows.batch.completion_lengths, spec.decoding.max_new_tokens
    weights = ops.average_weights(lengths, spec.loss_average, mean_length=mean_length, limit=limit)
    return actor._replace(terms=actor.terms * weights[:, None])
