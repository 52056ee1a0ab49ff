"""Proximal policy optimisation (PPO, Schulman et al. 2017) with a critic, in one file. Read it from top to bottom.

    python examples/ppo_from_scratch.py                       # some twenty seconds on one core; nothing is downloaded
    python examples/ppo_from_scratch.py --kl-coefficient 0.5  # keeps the policy closer to its reference (see --help)

The task: a prompt is three digits. Half of the demonstrations repeat the digits and half reverse them, so the SFT model
does both. The reward is 1 for an answer that reverses the digits and 0 for any other answer. PPO teaches the policy to
reverse. It samples answers, so even an answer that is in no data set gets its reward.

This file leaves out a learned reward, tests, programs and endpoints (`rewards/`); top-k and top-p, whose kept ids the
log-probabilities must use (`sampling/`); a reference that follows the policy, a KL target and the critic's running scale
(`methods/ppo.py`); micro-batches, schedule and bf16 (`train/learner.py`); checkpoints and a compute budget (`train/`);
and evaluators, seeds and intervals (a study). `preflab train ppo` has all of these.
"""

from __future__ import annotations

import itertools
import random

import torch
import tyro
from torch import Tensor

from preflab import ops
from preflab.batch import Experience, TokenBatch, collate
from preflab.losses.policy import ppo_policy_loss, ppo_value_loss, sft_loss
from preflab.models import forward
from preflab.models.heads import Critic, make_critic
from preflab.models.lm import LanguageModel
from preflab.models.reference import Reference
from preflab.models.spec import TinyShape
from preflab.models.tiny import make_tiny
from preflab.sampling.base import Decoding, Samples
from preflab.sampling.native import Native
from preflab.spec import Context
from preflab.types import Completion, Prompt, Turn

SHAPE = TinyShape(width=32, inner=64, layers=2, heads=4, context=16)  # 35,000 parameters; a digit is one token
UNSEEN = 200  # prompts of the 720; the policy is trained on the others


def main(
    sft_steps: int = 400,
    steps: int = 15,
    rollouts: int = 256,
    batch_size: int = 64,
    passes: int = 2,
    kl_coefficient: float = 0.02,
    gamma: float = 1.0,
    lam: float = 0.95,
    clip: float = 0.2,
    sft_learning_rate: float = 5e-3,
    learning_rate: float = 1e-3,
    critic_learning_rate: float = 3e-3,
    seed: int = 0,
) -> tuple[float, float]:
    """Trains, prints what the policy learned, and returns the mean reward on unseen prompts before and after PPO."""
    # 1. Encode each prompt with both answers.
    policy = make_tiny(SHAPE, seed=seed)
    prompts = [" ".join(map(str, digits)) for digits in itertools.permutations(range(10), 3)]
    random.Random(seed).shuffle(prompts)
    unseen, seen = prompts[:UNSEEN], prompts[UNSEEN:]
    repeats, reversals = encode(policy, seen, seen), encode(policy, seen, [prompt[::-1] for prompt in seen])
    draw = torch.Generator().manual_seed(seed)

    # 2. SFT: -log pi(y_t | x, y_<t), averaged over the batch's tokens. The model learns both answers.
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=sft_learning_rate)
    for step in range(sft_steps):
        demonstrations = reversals if step % 2 else repeats
        batch = demonstrations.select(torch.randint(len(seen), (batch_size,), generator=draw))
        terms = sft_loss(forward.token_logprobs(policy.model, batch).logprobs)
        ops.reduce(terms, batch.mask, count=int(batch.mask.sum())).backward()
        optimizer.step()
        optimizer.zero_grad()
    before = mean_reward(policy, unseen)
    print(f"SFT model: mean reward {before:.2f}")

    # 3. The reference is the SFT model. The critic is a copy of it with a head whose value is 0 for every state.
    reference, critic = Reference(policy.model), make_critic(policy, seed=seed)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=learning_rate)
    critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=critic_learning_rate)
    for step in range(steps):
        # 4. Roll out: sample one answer to each prompt of the step, and score it.
        step_prompts = [seen[row] for row in torch.randint(len(seen), (rollouts,), generator=draw).tolist()]
        samples = sample(policy, step_prompts, first_seed=(1 + step) * 1_000_000)
        scores = reward(policy, step_prompts, samples.batch)

        # 5. Compute per-token rewards (minus the KL penalty, plus the score on the last token) and whitened advantages (GAE).
        experience = assess(samples, scores, reference, critic, kl_coefficient=kl_coefficient, gamma=gamma, lam=lam)

        # 6. Train both on the experience in shuffled mini-batches: the policy by the clipped surrogate loss, the critic by
        #    its squared distance from the returns. Each term is averaged over the mini-batch's tokens.
        for _ in range(passes):
            for rows in torch.randperm(rollouts, generator=draw).split(batch_size):
                batch = experience.select(rows)
                assert batch.values is not None and batch.returns is not None
                mask = batch.batch.mask
                logprobs = forward.token_logprobs(policy.model, batch.batch).logprobs
                terms = ppo_policy_loss(logprobs, batch.logprobs, batch.advantages, clip=clip)
                ops.reduce(terms, mask, count=int(mask.sum())).backward()
                values = forward.values(critic, batch.batch)[:, :-1]
                terms = ppo_value_loss(values, batch.values[:, :-1], batch.returns, clip=clip)
                ops.reduce(terms, mask, count=int(mask.sum())).backward()
                optimizer.step()
                optimizer.zero_grad()
                critic_optimizer.step()
                critic_optimizer.zero_grad()
        kl = ops.sequence_sum(experience.logprobs - experience.reference_logprobs, samples.batch.mask).mean().item()
        print(f"  step {step:2}: mean reward {scores.mean().item():.2f}, KL to the SFT model {kl:5.2f} nats")

    # 7. Measure the policy on prompts that it has not seen.
    after = mean_reward(policy, unseen)
    print(f"after PPO: mean reward {after:.2f}")
    return before, after


def encode(policy: LanguageModel, prompts: list[str], answers: list[str]) -> TokenBatch:
    """Encodes prompts, padded on the left, and answers, padded on the right, each with its end-of-turn token."""
    completions = [policy.encode_completion(Completion(answer)) for answer in answers]
    return collate([prompt_ids(policy, prompt) for prompt in prompts], completions)


def prompt_ids(policy: LanguageModel, prompt: str) -> list[int]:
    return policy.encode_prompt(Prompt(prompt, (Turn("user", prompt),)))


def sample(policy: LanguageModel, prompts: list[str], *, first_seed: int) -> Samples:
    """Samples one answer to each prompt at temperature 1, with its tokens' log-probabilities. Each row has a seed."""
    ids = [prompt_ids(policy, prompt) for prompt in prompts]
    with Native().open(Context()) as sampler:
        seeds = range(first_seed, first_seed + len(ids))
        return sampler.sample(policy, ids, seeds=seeds, decoding=Decoding(max_new_tokens=6))


def reward(policy: LanguageModel, prompts: list[str], batch: TokenBatch) -> Tensor:
    """Returns 1 for an answer that reverses its prompt and ends, and 0 for any other: [B]."""
    answers = policy.completions(batch)
    rights = [Completion(prompt[::-1]) == answer for prompt, answer in zip(prompts, answers, strict=True)]
    return torch.tensor(rights, dtype=torch.float32)


def mean_reward(policy: LanguageModel, prompts: list[str]) -> float:
    """Returns the mean reward of one answer to each prompt, always sampled with the same random numbers."""
    return reward(policy, prompts, sample(policy, prompts, first_seed=0).batch).mean().item()


@torch.no_grad()
def assess(
    samples: Samples,
    scores: Tensor,
    reference: Reference,
    critic: Critic,
    *,
    kl_coefficient: float,
    gamma: float,
    lam: float,
) -> Experience:
    """Returns the samples with reference log-probabilities, values, advantages and returns. The state after a truncated
    answer keeps its value (`truncated`). The state after an answer that ended has the value 0."""
    batch, mask = samples.batch, samples.batch.mask
    with reference.active() as model:
        reference_logprobs = forward.token_logprobs(model, batch).logprobs
    values = forward.values(critic, batch)
    penalty = ops.kl_estimate(samples.logprobs, reference_logprobs, "k1")
    rewards = ops.token_rewards(scores, penalty, mask, coefficient=kl_coefficient)
    advantages, returns = ops.gae(rewards, values, mask, batch.truncated, gamma=gamma, lam=lam)
    return Experience(
        batch=batch,
        logprobs=samples.logprobs,
        reference_logprobs=reference_logprobs,
        advantages=ops.whiten(advantages, mask),
        values=values,
        returns=returns,
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
