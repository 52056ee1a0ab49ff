"""Trains with PPO on a reward and a cost (Dai et al. 2024, Safe RLHF). Maximises the reward, subject to a mean cost of
at most `threshold`.

A Lagrange multiplier lambda weighs the cost against the reward. The multiplier is learned. It rises while the mean cost
is above the threshold, and falls while the mean cost is below the threshold. One critic estimates the reward, and
another critic estimates the cost. Everything else is as in `methods.ppo`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.batch import Experience
from preflab.fields import Count, Positive, Share
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.ppo import critic_terms, estimate_advantages, estimate_values, rescale_values
from preflab.methods.shared import surrogate
from preflab.methods.shared.mismatch import correction_weights
from preflab.methods.shared.rollout import (
    Rollout,
    cut_mini_batches,
    require_sampling,
    roll_out,
    score_answers,
    take_prompts,
)
from preflab.models.heads import Critic, make_critic
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.rewards.base import Reward
from preflab.sampling.base import Decoding
from preflab.train.learner import Learner, Optim
from preflab.train.state import Stateful, require_number


class PPOLag(Method):
    """Settings that also exist in `ppo` have the defaults of `ppo`. The settings of the multiplier have the defaults of
    the authors' library, safe-rlhf. The run's reward scores helpfulness, and the run's cost scores harm. A cost above 0
    means that the answer is unsafe.

    `threshold`: the largest allowed mean cost of the policy's answers (-d in Dai et al. 2024). `multiplier`: the first
    value of lambda. `multiplier_rate`: the learning rate of log lambda. `multiplier_max`: the largest value of lambda.
    `cost_clip`: the bound on the absolute value of a cost in training. The multiplier follows the unclipped costs.
    `kl_coefficient`: the weight of the KL in the combined objective (beta/2 in Dai et al. 2024). This weight does not
    depend on lambda; see `assess_with_critics`. Both critics use the same critic settings, such as `critic_optim`.
    """

    kind: Literal["ppo-lag"] = "ppo-lag"
    keeps_reference = True
    critics = 2
    scores_samples = True
    needs_cost = True
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-5)
    threshold: float = 0.0
    multiplier: Positive = 1.0
    multiplier_rate: float = Field(default=0.1, ge=0)
    multiplier_max: Positive | None = 5.0
    cost_clip: Positive | None = 20.0
    clip: float = Field(default=0.2, gt=0, lt=1)
    clip_high: Positive | None = None
    kl_coefficient: float = Field(default=0.1, ge=0)
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = 20.0
    reference_ema: Share = 0.001
    ratio_guard: Positive | None = 5.0
    gamma: Share = 1.0
    lam: Share = 1.0
    value_clip: Positive | None = 0.2
    kl_estimator: ops.KlEstimator = "k1"
    truncated: Literal["bootstrap", "score"] = "bootstrap"
    normalise_advantages: bool = True
    normalise_values: bool = True
    value_decay: float = Field(default=0.99995, ge=0, lt=1)
    critic_warmup: int = Field(default=0, ge=0)
    critic_optim: Optim = Optim(learning_rate=5e-6)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        require_sampling(self.decoding)
        prompts, reward, cost = parts.prompts(), parts.needed_reward(), parts.needed_cost()
        actor, reference = parts.learner(policy.model, self.optim), Reference(policy.model)
        values, harms = open_valuer(self, parts, "critic"), open_valuer(self, parts, "cost-critic")
        multiplier = Multiplier(self.multiplier, self.multiplier_rate, self.multiplier_max, self.threshold)
        state: dict[str, Stateful] = {"policy": actor, "multiplier": multiplier}
        state |= {"critic": values.learner, "moments": values.moments}
        state |= {"cost_critic": harms.learner, "cost_moments": harms.moments}
        if self.reference_ema:
            state["reference"] = reference
        terms, guard = partial(surrogate.actor_terms, self, policy), surrogate.make_guard(self.ratio_guard)
        paid, price = price_labels(reward, cost)
        share = run.labels.share_of(self.steps, reward=paid, price=price)
        for step in run.steps(share, state, policy=policy, validate=parts.validate):
            # 1. Sample one response to each of the step's prompts. Score the response by the reward and the cost.
            chosen = take_prompts(replace(parts, reward=paid), prompts, step, self.rollouts, price=price)
            rollout = roll_out(parts, chosen, "rollout", step, decoding=self.decoding)
            costs = ask_costs(parts, cost, rollout, step)
            # 2. Raise the multiplier if the mean cost is above the threshold, otherwise lower it.
            multiplier.follow(float(costs.mean()))
            # 3. Compute the advantages of the reward and of the cost, and combine the advantages.
            experience, harm = assess_with_critics(
                self, parts, rollout, costs, reference, values, harms, multiplier.value
            )
            # 4. Rescale the critics to the new returns. Then train the policy and the critics on shuffled mini-batches.
            experience = rescale_values(self, experience, values.model, values.moments)
            harm = rescale_values(self, harm, harms.model, harms.moments)
            for rows, progress in cut_mini_batches(
                run, step, len(experience), count=self.mini_batches, epochs=self.epochs
            ):
                batch = experience.select(rows)
                tokens = float(batch.batch.completion_lengths.sum())
                if step < self.critic_warmup:
                    actor.wait(progress)
                else:
                    update = actor.step(batch, terms, count=tokens, progress=progress, guard=guard)
                    run.record.log(update, "policy/")
                for valuer, seen, name in ((values, batch, "critic/"), (harms, harm.select(rows), "cost_critic/")):
                    loss = partial(critic_terms, self, valuer.model)
                    run.record.log(valuer.learner.step(seen, loss, count=tokens, progress=progress), name)
            # 5. Log the rollout, and move the reference towards the policy.
            measures = surrogate.measure_rollout(rollout, experience.logprobs, experience.reference_logprobs)
            run.record.log(measures | describe_costs(costs))
            run.record.log({"multiplier": multiplier.value, "skipped": actor.skipped})
            if self.reference_ema:
                reference.follow(self.reference_ema)
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of the run as counts. Each answer is sampled, scored by `Parts.reward`, and scored by
        `Parts.cost`. The reference and both critics make one forward pass over each answer. The policy and the critics
        train on each answer in each epoch. During the critics' warm-up, only the critics train."""
        answers = self.steps * self.rollouts
        trained, waiting = self.epochs * answers, self.epochs * min(self.critic_warmup, self.steps) * self.rollouts
        return Cost(
            drawn=answers,
            scored=answers,
            trained=trained - waiting,
            critic_trained=2 * trained,
            forward=3 * answers,
            costed=answers,
        )


class Valuer(NamedTuple):
    """A critic with its learner and the running moments of its returns."""

    model: Critic
    learner: Learner
    moments: ops.RunningMoments


class Multiplier:
    """The Lagrange multiplier lambda, learned by gradient ascent on log lambda (Dai et al. 2024, Section 3.3):
    log lambda <- log lambda + rate lambda (mean cost - threshold), at most log `most`."""

    def __init__(self, first: float, rate: float, most: float | None, threshold: float) -> None:
        self.rate = rate
        self.highest = math.inf if most is None else math.log(most)
        self.threshold = threshold
        self.log = min(math.log(first), self.highest)

    @property
    def value(self) -> float:
        return math.exp(self.log)

    def follow(self, cost: float) -> None:
        """Makes one step of gradient ascent. `cost`: the mean cost of the policy's newest answers."""
        self.log = min(self.log + self.rate * self.value * (cost - self.threshold), self.highest)

    def state_dict(self) -> dict[str, Any]:
        return {"log": self.log}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log = require_number(state, "log")


def open_valuer(spec: PPOLag, parts: Parts, name: str) -> Valuer:
    """Makes a new critic from the policy, with a learner and running moments. At first, the critic predicts 0 for every
    token. `name`: the name from which the seed of the critic's head is derived."""
    model = make_critic(parts.policy, seed=parts.run.seeds.derive(name))
    return Valuer(model, parts.learner(model, spec.critic_optim), ops.RunningMoments(spec.value_decay))


def price_labels(reward: Reward, cost: Reward) -> tuple[Reward, int]:
    """Returns the scorer and the price that `Labels` uses to limit the number of prompts. If labels pay for the scores
    of `cost`, the scorer is `cost`. Otherwise, the scorer is `reward`. The price is the number of labels for one
    response: 2 if labels pay for the scores of both scorers, otherwise 1."""
    price = reward.buys_labels + cost.buys_labels
    return (cost if cost.buys_labels else reward), max(1, price)


def ask_costs(parts: Parts, cost: Reward, rollout: Rollout, step: int) -> Tensor:
    """Returns the cost of each response: [B]. The run's journal stores the costs if they are not deterministic."""
    cost_parts = replace(parts, reward=cost)
    scores = score_answers(cost_parts, rollout.prompts, rollout.completions, key=f"costs-{step}", own=False)
    return torch.tensor(scores, dtype=torch.float32)


def describe_costs(costs: Tensor) -> dict[str, float]:
    """Returns two measures. `cost`: the mean cost. `unsafe`: the share of responses whose cost is above 0."""
    return {"cost": float(costs.mean()), "unsafe": float((costs > 0).float().mean())}


def assess_with_critics(
    spec: PPOLag,
    parts: Parts,
    rollout: Rollout,
    costs: Tensor,
    reference: Reference,
    values: Valuer,
    harms: Valuer,
    multiplier: float,
) -> tuple[Experience, Experience]:
    """Returns two experiences of a rollout. Both have the combined advantages. The first has the values and returns of
    the reward, and the second has the values and returns of the cost. Charges the forward passes to the run's meter.

    The KL penalty c kl_t is subtracted from the reward of each token and added to the cost of the token (Dai et al.
    2024, Section 3.3, with beta/2 = c). In the combined advantage (A_r - lambda A_c) / (1 + lambda), the weight of the
    KL penalty is then c for every lambda.
    """
    batch = rollout.batch
    logprobs, reference_logprobs = surrogate.ask_old_and_reference(spec, parts, reference, rollout.samples)
    penalty = ops.kl_estimate(logprobs, reference_logprobs, spec.kl_estimator)
    limit = math.inf if spec.cost_clip is None else spec.cost_clip
    sources = (
        (values, surrogate.shape_scores(spec, rollout.scores), spec.kl_coefficient),
        (harms, costs.clamp(-limit, limit), -spec.kl_coefficient),
    )
    seen: list[tuple[Tensor, ops.Advantages]] = []
    for valuer, scores, coefficient in sources:
        estimate = estimate_values(parts, batch, valuer.model, valuer.moments)
        parts.run.meter.forward(valuer.learner.size, batch.tokens)
        seen.append((estimate, estimate_advantages(spec, batch, scores, penalty, estimate, coefficient=coefficient)))
    advantages = combine([estimate.advantages for _, estimate in seen], multiplier)
    if spec.normalise_advantages:
        advantages = ops.whiten(advantages, batch.mask)
    kept, weights = rollout.samples.kept, correction_weights(rollout.samples, logprobs)
    first, second = (
        Experience(batch, logprobs, reference_logprobs, advantages, value, estimate.returns, kept, weights)
        for value, estimate in seen
    )
    return first, second


def combine(advantages: Sequence[Tensor], multiplier: float) -> Tensor:
    """Returns (A_r - lambda A_c) / (1 + lambda) (Dai et al. 2024, Section 3.3), where A_r and A_c are the advantages of
    the reward and of the cost: [B,T]."""
    reward, cost = advantages
    return (reward - multiplier * cost) / (1.0 + multiplier)
