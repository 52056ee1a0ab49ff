"""Proximal policy optimisation (PPO) with a separate critic. Each key factor that Xu et al. 2024 find is a setting.

The key factors (Section 5, Table 3) are advantage normalisation, a large batch of rollouts in shuffled mini-batches,
and a reference that follows the policy by exponential moving average. Each response has one scalar score. The KL
penalty is part of the per-token reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.batch import Experience, TokenBatch
from preflab.errors import UserError
from preflab.fields import Count, Positive, Share
from preflab.losses.policy import ppo_value_loss
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared import surrogate
from preflab.methods.shared.mismatch import correction_weights
from preflab.methods.shared.rollout import Rollout, cut_mini_batches, draw_rollout, require_sampling
from preflab.methods.shared.with_critic import WithCritic
from preflab.models import forward
from preflab.models.heads import Critic, make_critic
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding
from preflab.train.learner import Optim, Terms
from preflab.train.state import Stateful, require_number


class PPO(Method):
    """The defaults are the values of Xu et al. 2024 (Section 7). If that paper gives no value, the default is the value
    of ReaL, the library that the paper uses. Top-k is off by default; the presets for the studies of that paper set
    top-k to 200. The value None turns off `reward_clip`, `value_clip`, `ratio_guard` or `kl_target`. If the run has a
    compute budget, `steps` is ignored.

    `rollouts`: the number of responses in a step, with one response to each prompt. In each of `epochs` epochs, policy
    and critic train on the responses in `mini_batches` shuffled mini-batches. `clip`, `clip_high`: see `actor_terms`.
    `reward_bias`, `reward_scale`, `reward_clip`: see `shape_scores`. `reference_ema`: the rate at which the reference
    follows the policy. `ratio_guard`: see `make_guard`."""

    kind: Literal["ppo"] = "ppo"
    keeps_reference = True
    critics = 1
    scores_samples = True
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    optim: Optim = Optim(learning_rate=1e-5)
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
    kl_target: Positive | None = None
    kl_horizon: Count = 10_000
    truncated: Literal["bootstrap", "score"] = "bootstrap"
    normalise_advantages: bool = True
    normalise_values: bool = True
    value_decay: float = Field(default=0.99995, ge=0, lt=1)
    critic_from: Literal["policy", "reward"] = "policy"
    critic_warmup: int = Field(default=0, ge=0)
    critic_optim: Optim = Optim(learning_rate=5e-6)

    @property
    def critic_from_reward(self) -> bool:
        return self.critic_from == "reward"

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        require_sampling(self.decoding)
        prompts = parts.prompts()
        value_model = open_critic(self, parts)
        actor, critic = parts.learner(policy.model, self.optim), parts.learner(value_model, self.critic_optim)
        reference, moments = Reference(policy.model), ops.RunningMoments(self.value_decay)
        kl = KlController(self.kl_coefficient, self.kl_target, self.kl_horizon)
        state: dict[str, Stateful] = {"policy": actor, "critic": critic, "moments": moments, "kl": kl}
        if self.reference_ema:
            state["reference"] = reference
        terms, guard = partial(surrogate.actor_terms, self, policy), surrogate.make_guard(self.ratio_guard)
        share = run.labels.share_of(self.steps, reward=parts.needed_reward(), price=1)
        for step in run.steps(share, state, policy=policy, validate=parts.validate):
            # 1. Draw one response to each of the step's prompts and score it.
            rollout = draw_rollout(parts, prompts, step, count=self.rollouts, price=1, decoding=self.decoding)
            # 2. Compute the reference's log-probabilities, the critic's values, rewards, advantages and returns.
            experience = assess_with_critic(self, parts, rollout, reference, value_model, moments, kl)
            run.meter.forward(critic.size, rollout.batch.tokens)
            # 3. Rescale the critic to the new returns; then train policy and critic on shuffled mini-batches.
            experience = rescale_values(self, experience, value_model, moments)
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
                loss = partial(critic_terms, self, value_model)
                run.record.log(critic.step(batch, loss, count=tokens, progress=progress), "critic/")
            # 4. Adapt the KL coefficient to the rollout's KL, and move the reference towards the policy.
            measures = surrogate.measure_rollout(rollout, experience.logprobs, experience.reference_logprobs)
            run.record.log(measures | {"kl_coefficient": kl.coefficient, "skipped": actor.skipped})
            kl.update(measures["kl"], len(experience))
            if self.reference_ema:
                reference.follow(self.reference_ema)
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of the run. Each answer is drawn and scored. Each answer goes through one forward pass of
        the reference and one forward pass of the critic. Policy and critic train on each answer in each epoch. During
        the critic's warm-up, only the critic trains."""
        answers = self.steps * self.rollouts
        trained, waiting = self.epochs * answers, self.epochs * min(self.critic_warmup, self.steps) * self.rollouts
        return Cost(
            drawn=answers, scored=answers, trained=trained - waiting, critic_trained=trained, forward=2 * answers
        )


class KlController:
    """The KL coefficient, fixed or adapted by proportional control towards a target KL (Ziegler et al. 2019, eq. 2).

    e = clip(KL / target - 1, -.2, .2); coefficient <- coefficient (1 + e n / horizon), for n responses.
    A KL above the target raises the coefficient.
    """

    def __init__(self, coefficient: float, target: float | None, horizon: int) -> None:
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, responses: int) -> None:
        """Adapts the coefficient. `kl`: KL(policy || reference), summed over the tokens of a response and averaged over
        responses, in nats. `responses`: the number of responses."""
        if self.target is not None:
            error = min(max(kl / self.target - 1.0, -0.2), 0.2)
            self.coefficient *= 1.0 + error * responses / self.horizon

    def state_dict(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.coefficient = require_number(state, "coefficient")


def open_critic(spec: PPO, parts: Parts) -> Critic:
    """Makes a new critic from the policy or from the reward model. At first, the critic predicts 0 for every token. If
    `critic_from` is "reward", the run must have a reward model with the vocabulary of the policy. Otherwise raises
    `UserError`."""
    origin = parts.policy
    if spec.critic_from == "reward":
        if parts.reward_model is None:
            raise UserError("critic_from=reward needs a learned reward. Name such a reward, or set critic_from=policy.")
        origin = parts.reward_model
        if origin.tokenizer.get_vocab() != parts.policy.tokenizer.get_vocab():
            raise UserError(
                "The reward model and the policy have different vocabularies, but critic_from=reward needs equal vocabularies. "
                "Set critic_from=policy."
            )
    return make_critic(origin, seed=parts.run.seeds.derive("critic"))


def assess_with_critic(
    spec: PPO,
    parts: Parts,
    rollout: Rollout,
    reference: Reference,
    critic: Critic,
    moments: ops.RunningMoments,
    kl: KlController,
) -> Experience:
    """Returns the `Experience` of a rollout, which contains its log-probabilities, advantages, values and returns.
    `values` and `returns` are in the units of the reward."""
    batch = rollout.batch
    logprobs, reference_logprobs = surrogate.ask_old_and_reference(spec, parts, reference, rollout.samples)
    values = estimate_values(parts, batch, critic, moments)
    scores = surrogate.shape_scores(spec, rollout.scores)
    penalty = ops.kl_estimate(logprobs, reference_logprobs, spec.kl_estimator)
    estimate = estimate_advantages(spec, batch, scores, penalty, values, coefficient=kl.coefficient)
    advantages = ops.whiten(estimate.advantages, batch.mask) if spec.normalise_advantages else estimate.advantages
    kept = rollout.samples.kept
    weights = correction_weights(rollout.samples, logprobs)
    return Experience(batch, logprobs, reference_logprobs, advantages, values, estimate.returns, kept, weights)


def estimate_values(parts: Parts, batch: TokenBatch, critic: Critic, moments: ops.RunningMoments) -> Tensor:
    """Returns the critic's values of a rollout in the units of the reward: [B,T+1]."""
    raw = forward.by_micro_batch(critic, lambda rows: forward.values(critic, rows), batch, parts.token_budget)
    return moments.restore(raw)


def estimate_advantages(
    spec: WithCritic, batch: TokenBatch, scores: Tensor, penalty: Tensor, values: Tensor, *, coefficient: float
) -> ops.Advantages:
    """Returns the advantages and returns of a rollout. The score of a response is added to the reward of its last
    token. `penalty`: the estimate of the KL at each token, [B,T]. It is multiplied by `coefficient` and subtracted from
    the reward of its token.

    If `spec.truncated` is "bootstrap", a truncated response gets no score, and its return is bootstrapped from the
    critic's value. If `spec.truncated` is "score", a truncated response is treated as finished and is scored.
    """
    bootstrapped = batch.truncated if spec.truncated == "bootstrap" else torch.zeros_like(batch.truncated)
    rewards = ops.token_rewards(scores.masked_fill(bootstrapped, 0.0), penalty, batch.mask, coefficient=coefficient)
    return ops.gae(rewards, values, batch.mask, bootstrapped, gamma=spec.gamma, lam=spec.lam)


def rescale_values(spec: WithCritic, experience: Experience, critic: Critic, moments: ops.RunningMoments) -> Experience:
    """Updates the running mean and standard deviation with the returns. Rescales the critic's last layer so that its
    predictions, in the units of the reward, do not change (PopArt, van Hasselt et al. 2016). Returns the experience
    with normalised values and returns.

    When mean and standard deviation change from (m, s) to (m', s'), the layer changes by w <- w s/s' and b <- (s b + m
    - m')/s'. If `normalise_values` is False, returns the experience unchanged.
    """
    if not spec.normalise_values:
        return experience
    assert experience.values is not None and experience.returns is not None
    mean, std = moments.mean, moments.std
    moments.update(experience.returns, experience.batch.mask)
    with torch.no_grad():
        critic.head.weight.mul_(std / moments.std)
        critic.head.bias.mul_(std).add_(mean - moments.mean).div_(moments.std)
    return replace(
        experience, values=moments.normalise(experience.values), returns=moments.normalise(experience.returns)
    )


def critic_terms(spec: WithCritic, critic: Critic, rows: Experience) -> Terms:
    """Returns the unreduced value loss of each token, [B,T], in the units of the critic's normalised values."""
    assert rows.values is not None and rows.returns is not None
    values = forward.values(critic, rows.batch)[:, :-1]
    terms = ppo_value_loss(values, rows.values[:, :-1], rows.returns, clip=spec.value_clip)
    return Terms(terms, rows.batch.mask, {"error": (values - rows.returns).square()})
