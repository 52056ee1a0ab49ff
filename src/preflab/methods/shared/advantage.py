"""Policy gradients without a critic: the training loop that GRPO, RLOO, REINFORCE++ and ReMax share.

The four methods differ in the baseline that is subtracted from an answer's score. GRPO subtracts the mean score of all
answers to the same prompt. RLOO subtracts the mean score of the other answers to the same prompt. REINFORCE++ subtracts
the mean over the whole batch. ReMax subtracts the score of the greedy answer. Each method has one function `Assessed ->
advantages[B,T]` that computes the advantages with this baseline.
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
from preflab.methods.shared import surrogate
from preflab.methods.shared.mismatch import correction_weights
from preflab.methods.shared.rollout import Rollout, cut_mini_batches, draw_rollout, require_sampling, require_updates
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.train.learner import Terms
from preflab.train.state import Stateful
from preflab.types import Prompt


class CriticFree(surrogate.Surrogate, Protocol):
    """The settings of the training loop without a critic: the settings of `Surrogate`, and three more. Each of the four
    methods has a field for each of these settings.

    `group`: the number of responses to each prompt. `loss_average`: see `ops.average_weights`, which is called with
    `limit=decoding.max_new_tokens`.

    `truncated`: how a truncated answer is treated. Without a critic, there is no estimate of the return of its missing
    part. If "score", the truncated answer is scored like a finished answer. If "ignore", the truncated answer has
    advantage 0, but still counts as a row of the batch, and still contributes to a KL term of the loss.
    """

    group: int
    loss_average: ops.LossAverage
    truncated: Literal["score", "ignore"]


class Assessed(NamedTuple):
    """A rollout with the data from which its advantages are computed. `scores[B]`: the shaped scores. `kl[B,T]`: the KL
    coefficient times (log pi - log ref) (the k1 estimate), 0 where the mask is False. `step`: the index of the step,
    from which ReMax derives the seeds of the greedy answers."""

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
    """Trains the policy by policy gradients without a critic.

    `advantages`: the function of the method that computes advantages from an `Assessed` rollout. `kl_in_loss`: if True,
    the KL penalty is a term of the loss (the k3 estimate). If False, `advantages` must include the KL penalty. `draw`:
    a function that replaces `draw_rollout`. It draws the rollout of a step, and returns None if the step is skipped.
    `baselines`: the number of answers to each prompt that `advantages` scores in addition to the prompt's group."""
    run, policy = parts.run, parts.policy
    require_sampling(spec.decoding)
    prompts, price = parts.prompts(), spec.group + baselines
    count, group = spec.rollouts // spec.group, spec.group
    draw = draw or partial(draw_rollout, parts, count=count, group=group, price=price, decoding=spec.decoding)
    learner, reference = parts.learner(policy.model, spec.optim), Reference(policy.model)
    state: dict[str, Stateful] = {"policy": learner}
    if spec.reference_ema:
        state["reference"] = reference
    share = run.labels.share_of(spec.steps, reward=parts.needed_reward(), price=price)
    for step in run.steps(share, state, policy=policy, validate=parts.validate):
        # 1. Draw a group of answers to each of the step's prompts and score them.
        rollout = draw(prompts, step)
        if rollout is None:
            continue
        # 2. Compute the reference's log-probabilities, the shaped scores, the KL and each token's advantage.
        experience = assess_rollout(spec, parts, step, rollout, reference, advantages)
        # 3. Minimise the clipped surrogate on shuffled mini-batches.
        for rows, progress in cut_mini_batches(run, step, len(experience), count=spec.mini_batches, epochs=spec.epochs):
            batch = experience.select(rows)
            tokens = float(batch.batch.completion_lengths.sum())
            mean_length = dist.all_count(tokens) / dist.all_count(len(batch))
            loss = partial(weigh_terms, spec, policy, mean_length, spec.kl_coefficient if kl_in_loss else 0.0)
            guard = surrogate.make_guard(spec.ratio_guard)
            run.record.log(learner.step(batch, loss, count=tokens, progress=progress, guard=guard), "policy/")
        # 4. Log the rollout's measures, and move the reference towards the policy.
        measures = surrogate.measure_rollout(rollout, experience.logprobs, experience.reference_logprobs)
        run.record.log(measures | {"skipped": learner.skipped})
        if spec.reference_ema:
            reference.follow(spec.reference_ema)
    require_updates(learner.updates + learner.skipped)
    return policy


def assess_rollout(
    spec: CriticFree, parts: Parts, step: int, rollout: Rollout, reference: Reference, advantages: Advantage
) -> Experience:
    """Returns the experience of a rollout with the method's advantages. The experience has no values and no returns,
    because values and returns need a critic."""
    batch = rollout.batch
    logprobs, reference_logprobs = surrogate.ask_old_and_reference(spec, parts, reference, rollout.samples)
    scores = surrogate.shape_scores(spec, rollout.scores)
    kl = spec.kl_coefficient * ops.kl_estimate(logprobs, reference_logprobs, "k1")
    values = advantages(Assessed(step, rollout, scores, torch.where(batch.mask, kl, torch.zeros_like(kl))))
    if spec.truncated == "ignore":
        values = torch.where(batch.truncated[:, None], torch.zeros_like(values), values)
    weights = correction_weights(rollout.samples, logprobs)
    return Experience(batch, logprobs, reference_logprobs, values, kept=rollout.samples.kept, weights=weights)


def weigh_terms(spec: CriticFree, policy: LanguageModel, mean_length: float, kl_loss: float, rows: Experience) -> Terms:
    """Returns the unreduced surrogate loss of each token, [B,T]. The terms are weighted so that their mean over the
    tokens of the mini-batch equals the average chosen by `loss_average`."""
    actor = surrogate.actor_terms(spec, policy, rows, kl_loss=kl_loss)
    lengths, limit = rows.batch.completion_lengths, spec.decoding.max_new_tokens
    weights = ops.average_weights(lengths, spec.loss_average, mean_length=mean_length, limit=limit)
    return actor._replace(terms=actor.terms * weights[:, None])
