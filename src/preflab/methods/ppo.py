"""Proximal policy optimisation with a separate critic, and the paper's key factors as switches (Section 5, Table 3).

Advantage normalisation, a large batch of rollouts in shuffled mini-batches, and a reference that follows the policy by
exponential moving average. One scalar score a response; the KL penalty stands in the per-token reward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.batch import Asked, Experience
from preflab.errors import UserError
from preflab.losses.policy import ppo_policy_loss, ppo_value_loss
from preflab.methods.base import Count, Method, Parts, Positive
from preflab.models import forward
from preflab.models.heads import Critic
from preflab.models.heads import critic as make_critic
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.sampling.base import Decoding, Samples
from preflab.train import faults
from preflab.train.learner import Optim, Terms
from preflab.train.run import Run, Stateful

Share = Annotated[float, Field(ge=0, le=1)]


class PPO(Method):
    """The paper's values (Section 7), its library's where it is silent [ReaL]. Top-k is off; the paper's presets use 200.
    None turns a clip, the guard or the KL target off. Under a compute budget `steps` gives way to it."""

    kind: Literal["ppo"] = "ppo"
    steps: Count = 100
    rollouts: Count = 512
    mini_batches: Count = 4
    epochs: Count = 1
    decoding: Decoding = Decoding()
    gamma: Share = 1.0
    lam: Share = 1.0
    clip: Positive = 0.2
    value_clip: Positive | None = 0.2
    kl_coefficient: float = Field(default=0.1, ge=0)
    kl_estimator: ops.KlEstimator = "k1"
    kl_target: Positive | None = None
    kl_horizon: Count = 10_000
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    reward_clip: Positive | None = 20.0
    truncated: Literal["bootstrap", "score"] = "bootstrap"
    normalise_advantages: bool = True
    normalise_values: bool = True
    value_decay: float = Field(default=0.99995, ge=0, lt=1)
    reference_ema: Share = 0.001
    ratio_guard: Positive | None = 5.0
    critic_from: Literal["policy", "reward"] = "policy"
    critic_warmup: int = Field(default=0, ge=0)
    optim: Optim = Optim(learning_rate=1e-5)
    critic_optim: Optim = Optim(learning_rate=5e-6)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy, reward = parts.run, parts.policy, parts.needed_reward()
        prompts = list(parts.testbed.prompts("train"))
        if not prompts:
            raise UserError("The testbed has no prompts to train on.")
        value_model = open_critic(self, parts)
        actor, critic = parts.learner(policy.model, self.optim), parts.learner(value_model, self.critic_optim)
        reference, moments = Reference(policy.model), ops.RunningMoments(self.value_decay)
        kl = KlController(self.kl_coefficient, self.kl_target, self.kl_horizon)
        state: dict[str, Stateful] = {"actor": actor, "critic": critic, "moments": moments, "kl": kl}
        if self.reference_ema:
            state["reference"] = reference
        total = run.times(self.steps, self.rollouts, reward)
        for step in run.steps(total, state, policy=policy, validate=parts.validate):
            # 1. Roll out: one response to each of the step's prompts, and its score.
            faults.point("rollout.before")
            count = run.affordable(self.rollouts, 1, reward)
            asked = [prompts[i] for i in run.stream(step, len(prompts), self.rollouts)[:count]]
            ids = [policy.encode_prompt(prompt) for prompt in asked]
            seeds = [run.seed_for("rollout", step, i) for i in range(len(asked))]
            samples = parts.sampler.sample(policy, ids, seeds=seeds, decoding=self.decoding)
            completions = policy.completions(samples.batch)
            scores = torch.tensor(run.score(reward, asked, completions, key=f"scores-{step:06d}"), dtype=torch.float32)
            faults.point("rollout.after")
            # 2. What reference and critic say of it; per-token rewards, advantages and returns.
            experience = assess(self, parts, samples, scores, reference, value_model, moments, kl)
            run.meter.forward(policy.size, samples.batch.tokens * (1 if samples.exact else 2))
            run.meter.forward(critic.size, samples.batch.tokens)
            # 3. The critic's units follow the returns; then both learn from shuffled mini-batches.
            experience = rescale_values(self, experience, value_model, moments)
            for rows in mini_batches(self, run, step, len(experience)):
                batch = experience.select(rows)
                tokens = float(batch.batch.completion_lengths.sum())
                if step < self.critic_warmup:
                    actor.wait(run.progress)
                else:
                    loss = partial(actor_terms, self, policy)
                    run.log(actor.step(batch, loss, count=tokens, progress=run.progress, guard=self.too_far), "policy/")
                loss = partial(critic_terms, self, value_model)
                run.log(critic.step(batch, loss, count=tokens, progress=run.progress), "critic/")
            # 4. The KL coefficient adapts to the KL that was seen; the reference follows the policy.
            run.log(measures(experience, scores) | {"kl_coefficient": kl.coefficient, "skipped": actor.skipped})
            kl.update(mean_kl(experience), len(experience))
            if self.reference_ema:
                reference.follow(self.reference_ema)
        return policy

    def too_far(self, stats: Mapping[str, float]) -> bool:
        """The guard: the mini-batch's masked mean importance ratio exceeds `ratio_guard`."""
        return self.ratio_guard is not None and stats["ratio"] > self.ratio_guard


class KlController:
    """The KL coefficient: fixed, or proportional control towards a target (Ziegler et al. 2019, eq. 2).

    e = clip(KL / target - 1, -.2, .2); coefficient <- coefficient (1 + e n / horizon). A KL above the target raises it.
    """

    def __init__(self, coefficient: float, target: float | None, horizon: int) -> None:
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, responses: int) -> None:
        """`kl`: the mean over responses of KL(policy || reference) summed over tokens, in nats."""
        if self.target is not None:
            error = min(max(kl / self.target - 1.0, -0.2), 0.2)
            self.coefficient *= 1.0 + error * responses / self.horizon

    def state_dict(self) -> dict[str, Any]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.coefficient = state["coefficient"]


def open_critic(spec: PPO, parts: Parts) -> Critic:
    """The critic at step 0, every value 0. Raises `UserError` for a policy that cannot sample, and where the reward model
    that it should start from is absent or reads other ids than the policy writes."""
    if spec.decoding.temperature <= 0:
        raise UserError("PPO samples from its policy: decoding.temperature must be above 0.")
    origin = parts.policy
    if spec.critic_from == "reward":
        if parts.reward_model is None:
            raise UserError("critic_from=reward needs a learned reward: name one, or take critic_from=policy.")
        origin = parts.reward_model
        if origin.tokenizer.get_vocab() != parts.policy.tokenizer.get_vocab():
            raise UserError("The reward model has another vocabulary than the policy: take critic_from=policy.")
    return make_critic(origin, seed=parts.run.seed_for("critic"))


def assess(
    spec: PPO,
    parts: Parts,
    samples: Samples,
    scores: Tensor,
    reference: Reference,
    critic: Critic,
    moments: ops.RunningMoments,
    kl: KlController,
) -> Experience:
    """The experience of a rollout: `values` and `returns` in the reward's own units.

    score = clip((score - bias) * scale, +-clip). A truncated response gets no score and bootstraps the value, or by
    choice counts as finished and is scored.
    """
    batch, budget, temperature = samples.batch, parts.token_budget, spec.decoding.temperature

    def logprobs(model: Any) -> Tensor:
        return forward.by_micro_batch(
            model,
            lambda rows: forward.token_logprobs(model, rows.batch, temperature=temperature, kept=rows.kept).logprobs,
            Asked(batch, samples.kept),
            budget,
        )

    old_logprobs = samples.logprobs if samples.exact else logprobs(parts.policy.model)
    with reference.active() as model:
        reference_logprobs = logprobs(model)
    values = moments.restore(forward.by_micro_batch(critic, lambda rows: forward.values(critic, rows), batch, budget))
    limit = math.inf if spec.reward_clip is None else spec.reward_clip
    scores = ((scores - spec.reward_bias) * spec.reward_scale).clamp(-limit, limit)
    bootstrapped = batch.truncated if spec.truncated == "bootstrap" else torch.zeros_like(batch.truncated)
    scores = torch.where(bootstrapped, torch.zeros_like(scores), scores)
    penalty = ops.kl_estimate(old_logprobs, reference_logprobs, spec.kl_estimator)
    rewards = ops.token_rewards(scores, penalty, batch.mask, coefficient=kl.coefficient)
    found = ops.gae(rewards, values, batch.mask, bootstrapped, gamma=spec.gamma, lam=spec.lam)
    advantages = ops.whiten(found.advantages, batch.mask) if spec.normalise_advantages else found.advantages
    return Experience(
        batch=batch,
        logprobs=old_logprobs,
        reference_logprobs=reference_logprobs,
        values=values,
        scores=scores,
        rewards=rewards,
        advantages=advantages,
        returns=found.returns,
        kept=samples.kept,
    )


def rescale_values(spec: PPO, experience: Experience, critic: Critic, moments: ops.RunningMoments) -> Experience:
    """Takes the returns into the running moments and changes the critic's last layer so that its predictions, in the
    reward's units, stay what they were (van Hasselt et al. 2016, PopArt); values and returns come back normalised.

    w <- w s/s', b <- (s b + m - m')/s' for moments (m, s) -> (m', s'). Without value normalisation nothing happens.
    """
    if not spec.normalise_values:
        return experience
    mean, std = moments.mean, moments.std
    moments.update(experience.returns, experience.batch.mask)
    with torch.no_grad():
        critic.head.weight.mul_(std / moments.std)
        critic.head.bias.mul_(std).add_(mean - moments.mean).div_(moments.std)
    return replace(
        experience, values=moments.normalise(experience.values), returns=moments.normalise(experience.returns)
    )


def mini_batches(spec: PPO, run: Run, step: int, size: int) -> Iterator[list[int]]:
    """The rows of each mini-batch: every epoch a new shuffle, cut into `mini_batches` parts that differ by one at most."""
    parts = min(spec.mini_batches, size)
    for epoch in range(spec.epochs):
        order = run.shuffled(size, "mini-batches", step, epoch)
        yield from (order[part * size // parts : (part + 1) * size // parts] for part in range(parts))


def actor_terms(spec: PPO, policy: LanguageModel, rows: Experience) -> Terms:
    """The policy loss's terms [B,T], with the importance ratio, the clipped share and the step's own KL (k3)."""
    temperature = spec.decoding.temperature
    scored = forward.token_logprobs(policy.model, rows.batch, temperature=temperature, kept=rows.kept, entropy=True)
    terms = ppo_policy_loss(scored.logprobs, rows.logprobs, rows.advantages, clip=spec.clip)
    ratio = torch.exp(scored.logprobs.detach() - rows.logprobs)
    assert scored.entropy is not None
    stats = {
        "ratio": ratio,
        "clipped": ((ratio - 1.0).abs() > spec.clip).float(),
        "step_kl": ops.kl_estimate(rows.logprobs, scored.logprobs, "k3"),
        "entropy": scored.entropy,
    }
    return Terms(terms, rows.batch.mask, stats)


def critic_terms(spec: PPO, critic: Critic, rows: Experience) -> Terms:
    """The value loss's terms [B,T], in the critic's units."""
    values = forward.values(critic, rows.batch)[:, :-1]
    terms = ppo_value_loss(values, rows.values[:, :-1], rows.returns, clip=spec.value_clip)
    return Terms(terms, rows.batch.mask, {"error": (values - rows.returns).square()})


def mean_kl(experience: Experience) -> float:
    """Mean over responses of sum_t log pi - log ref, in nats (k1)."""
    difference = experience.logprobs - experience.reference_logprobs
    return float(ops.sequence_sum(difference, experience.batch.mask).mean())


def measures(experience: Experience, scores: Tensor) -> dict[str, float]:
    """What the step's rollout looked like. `reward`: the mean score as the reward gave it."""
    batch = experience.batch
    k3 = ops.kl_estimate(experience.logprobs, experience.reference_logprobs, "k3")
    return {
        "reward": float(scores.mean()),
        "reward_spread": float(scores.std(correction=0)),
        "kl": mean_kl(experience),
        "kl_k3": float(ops.sequence_sum(k3, batch.mask).mean()),
        "length": float(batch.completion_lengths.float().mean()),
        "truncated": float(batch.truncated.float().mean()),
    }
