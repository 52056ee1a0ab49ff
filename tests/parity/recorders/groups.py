"""GRPOTrainer and RLOOTrainer: advantages of groups of answers, the losses on a batch made by hand, DAPO's length penalty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.rewards import get_soft_overlong_punishment

from recorders import tiny

# Two groups of four: one with spread, one with a single success. A third where all are equal: its advantages are 0.
REWARDS = [1.0, 0.0, 0.5, -0.25, 0.0, 0.0, 10.0, 0.0, 2.0, 2.0, 2.0, 2.0]
GROUP = 4
PROMPTS = [row["prompt"] for row in tiny.PAIRS[:3] for _ in range(GROUP)]

GRPO_LOSSES: dict[str, dict[str, Any]] = {
    "grpo/loss": {"loss_type": "grpo", "beta": 0.0, "epsilon": 0.2},
    # By default 1.16 multiplies the KL by the importance ratio; without, it is the published objective.
    "grpo/loss_kl": {"loss_type": "grpo", "beta": 0.1, "epsilon": 0.2, "use_bias_correction_kl": False},
    # Longer than any answer of the batch: Dr. GRPO divides by it.
    "grpo/dr_grpo": {"loss_type": "dr_grpo", "beta": 0.0, "epsilon": 0.2, "max_completion_length": 8},
    "grpo/dapo_clip_higher": {"loss_type": "dapo", "beta": 0.0, "epsilon": 0.2, "epsilon_high": 0.28},
}
SAMPLING = {"num_generations": GROUP, "max_completion_length": 6, "per_device_train_batch_size": len(REWARDS)}


def trainer_of(kind: Any, config: Any, **fields: Any) -> Any:
    """A trainer whose reward is the table `REWARDS`, whatever was sampled. With beta it loads its own reference, from
    the folder that the policy's config names."""
    policy = tiny.policy()
    policy.config._name_or_path = tiny.saved(tiny.near(7))
    return kind(
        model=policy,
        reward_funcs=lambda completions, **_: REWARDS[: len(completions)],
        args=config(**tiny.settings(**{**SAMPLING, **fields})),
        train_dataset=tiny.dataset([{"prompt": prompt} for prompt in PROMPTS]),
        processing_class=tiny.tokenizer(),
    )


def rollout(trainer: Any) -> dict[str, Tensor]:
    """What the trainer makes of its prompts: answers, their log-probabilities, advantages."""
    torch.manual_seed(11)
    return trainer._generate_and_score_completions([{"prompt": prompt} for prompt in PROMPTS])


def grpo_advantages() -> Iterator[dict[str, Any]]:
    for scale in ("group", "none"):
        trainer = trainer_of(GRPOTrainer, GRPOConfig, scale_rewards=scale)
        yield tiny.case(
            f"grpo/advantages_{scale}",
            "trl.trainer.grpo_trainer.GRPOTrainer._generate_and_score_completions",
            settings={"scale_rewards": scale, "num_generations": GROUP},
            inputs={"rewards": REWARDS},
            outputs={"advantages": rollout(trainer)["advantages"]},
        )


def rloo_advantages() -> Iterator[dict[str, Any]]:
    """With beta the reward is the score less beta times the answer's summed log-ratio."""
    for name, fields in {
        "rloo/advantages": {"beta": 0.0},
        "rloo/advantages_kl": {"beta": 0.2},
    }.items():
        trainer = trainer_of(RLOOTrainer, RLOOConfig, **fields)
        spy = trainer._get_per_token_logps_and_entropies = tiny.Spy(
            trainer._get_per_token_logps_and_entropies, lambda result: result[0]
        )
        drawn = rollout(trainer)
        inputs: dict[str, Any] = {"rewards": REWARDS}
        if trainer.ref_model is not None:
            logprobs, reference = spy.seen
            inputs |= {"logprobs": logprobs, "reference": reference, "mask": drawn["completion_mask"].bool()}
        yield tiny.case(
            name,
            "trl.trainer.rloo_trainer.RLOOTrainer._generate_and_score_completions",
            settings={"num_generations": GROUP, **fields},
            inputs=inputs,
            outputs={"advantages": drawn["advantages"]},
        )


def by_hand(trainer: Any, *, moved: bool) -> dict[str, Tensor]:
    """Four answers of 6, 3, 5 and 1 tokens, and what an old policy and a reference say of them.

    `moved`: the policy is no longer the old one; ratios lie within and beyond the clip on either side.
    """
    draw = torch.Generator().manual_seed(21)
    vocabulary = len(tiny.SPECIAL) + len(tiny.WORDS)
    prompts = torch.randint(3, vocabulary, (4, 3), generator=draw)
    answers = torch.randint(3, vocabulary, (4, 6), generator=draw)
    mask = (torch.arange(6) < torch.tensor([6, 3, 5, 1])[:, None]).long()
    ids = torch.cat([prompts, answers], dim=1)
    attention = torch.cat([torch.ones_like(prompts), mask], dim=1)
    with torch.no_grad():
        seen = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attention, 6)[0]
    old = (seen + (0.5 * torch.randn(seen.shape, generator=draw) if moved else 0.0)) * mask
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": answers,
        "completion_mask": mask,
        "advantages": torch.tensor([1.5, -0.5, -1.0, 0.75]),
        "old_per_token_logps": old,
        "ref_per_token_logps": (seen + 0.3 * torch.randn(seen.shape, generator=draw)) * mask,
        "old_logps": old.sum(1),
        "num_items_in_batch": mask.sum(),
    }


def losses(trainer: Any, name: str, path: str, fields: dict[str, Any], *, moved: bool = True) -> dict[str, Any]:
    """One call of `compute_loss` in evaluation mode, where the trainer divides by no number of accumulation steps."""
    trainer.model.eval()
    batch = by_hand(trainer, moved=moved)
    spy = trainer._get_per_token_logps_and_entropies = tiny.Spy(
        trainer._get_per_token_logps_and_entropies, lambda result: result[0]
    )
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    mask = batch["completion_mask"].bool()
    return tiny.case(
        name,
        path,
        settings=fields,
        inputs={
            "logprobs": spy.last,
            "old": batch["old_per_token_logps"],
            "reference": batch["ref_per_token_logps"],
            "mask": mask,
            "advantages": batch["advantages"],
        },
        outputs={"loss": loss, "slopes": spy.last.grad * mask},
    )


def grpo_losses() -> Iterator[dict[str, Any]]:
    for name, fields in GRPO_LOSSES.items():
        trainer = trainer_of(GRPOTrainer, GRPOConfig, **fields)
        yield losses(trainer, name, "trl.trainer.grpo_trainer.GRPOTrainer._compute_loss", fields)


def rloo_loss() -> Iterator[dict[str, Any]]:
    """On the policy's own answers: off it TRL clips the ratio of whole answers, which preflab does not."""
    trainer = trainer_of(RLOOTrainer, RLOOConfig)
    path = "trl.trainer.rloo_trainer.RLOOTrainer._compute_loss"
    yield losses(trainer, "rloo/loss", path, {}, moved=False)


def overlong() -> Iterator[dict[str, Any]]:
    """Answers short of the window, within it, at the limit and beyond it."""
    fields, lengths = {"max_completion_len": 20, "soft_punish_cache": 8}, [3, 12, 13, 17, 20, 24]
    penalty = get_soft_overlong_punishment(**fields)
    yield tiny.case(
        "grpo/overlong",
        "trl.rewards.get_soft_overlong_punishment",
        settings=fields,
        inputs={"lengths": lengths},
        outputs={"penalty": penalty(completion_ids=[[0] * length for length in lengths])},
    )


RECORDERS = (grpo_advantages, rloo_advantages, grpo_losses, rloo_loss, overlong)
