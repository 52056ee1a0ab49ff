"""PPOTrainer of TRL 1.12, the last release with PPO: one rollout, two passes over it.

Its arithmetic stands in one long `train`. So `train` runs as it is, and the spies read the local variables of that frame
at two points: when the advantages are whitened (one rollout), and when a loss goes backward (one micro-batch).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from transformers import set_seed
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from recorders import tiny

ROLLOUT = (
    "rewards",
    "values",
    "advantages",
    "padding_mask",
    "padding_mask_p1",
    "scores",
    "logprobs",
    "ref_logprobs",
    "kl",
)
UPDATE = (
    *("new_logprobs", "mb_logprobs", "mb_advantage", "pg_loss"),
    *("vpred", "mb_values", "mb_return", "vf_loss"),
)
WHITEN_PATH = "trl.experimental.ppo.ppo_trainer.masked_whiten"
TRAIN_PATH = "trl.experimental.ppo.ppo_trainer.PPOTrainer.train"


def frame_of_train() -> FrameType:
    """The innermost running call of `PPOTrainer.train`."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not PPOTrainer.train.__code__:
        frame = frame.f_back
    assert frame is not None
    return frame


def copied(frame: FrameType, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Local variables as they are now; later passes change some of them in place."""
    return {name: frame.f_locals[name].detach().clone() for name in names}


class Watch:
    """Runs a trainer, with `masked_whiten` and `backward` replaced by themselves plus a look at `train`'s variables."""

    def __init__(self) -> None:
        self.rollouts: list[dict[str, torch.Tensor]] = []
        self.updates: list[dict[str, torch.Tensor]] = []

    def run(self, trainer: PPOTrainer) -> None:
        whiten, backward = ppo_trainer.masked_whiten, trainer.accelerator.backward
        ppo_trainer.masked_whiten = self.whitened(whiten)
        trainer.accelerator.backward = self.went_backward(backward)
        try:
            trainer.train()
        finally:
            ppo_trainer.masked_whiten = whiten

    def whitened(self, whiten: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def spy(values: torch.Tensor, mask: torch.Tensor, shift_mean: bool = True) -> torch.Tensor:
            result = whiten(values, mask, shift_mean)
            if shift_mean:  # the advantages, not the rewards
                self.rollouts.append(copied(frame_of_train(), ROLLOUT) | {"whitened": result.clone()})
            return result

        return spy

    def went_backward(self, backward: Callable[..., None]) -> Callable[..., None]:
        def spy(loss: torch.Tensor) -> None:
            frame = frame_of_train()
            pick = frame.f_locals["micro_batch_inds"]
            masks = {name: frame.f_locals[name][pick] for name in ("padding_mask", "padding_mask_p1")}
            for name in ("new_logprobs", "vpred"):
                frame.f_locals[name].retain_grad()
            live = {name: frame.f_locals[name] for name in ("new_logprobs", "vpred")}
            self.updates.append(copied(frame, UPDATE) | masks)
            backward(loss)
            self.updates[-1] |= {f"{name}_slope": tensor.grad.clone() for name, tensor in live.items()}

        return spy


def trainer_of(**fields: Any) -> PPOTrainer:
    """Four prompts, one batch; SGD, whose steps do not magnify the last digit of a small gradient."""
    set_seed(0)  # the rows are shuffled by numpy, which the trainer seeds for nobody
    words = tiny.tokenizer()
    words.padding_side = "left"
    policy, critic = tiny.policy(), tiny.scorer(6)
    weights = [*policy.parameters(), *critic.parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.02)
    rows = [{"input_ids": words(row["prompt"])["input_ids"]} for row in tiny.PAIRS]
    return PPOTrainer(
        args=PPOConfig(
            **tiny.settings(
                **{
                    "total_episodes": 4,
                    "num_ppo_epochs": 2,
                    "num_sample_generations": 0,
                    "response_length": 6,
                    "stop_token": "eos",
                    "temperature": 1.0,
                    **fields,
                }
            )
        ),
        processing_class=words,
        model=policy,
        ref_model=tiny.near(7),
        reward_model=tiny.scorer(5),
        value_model=critic,
        train_dataset=tiny.dataset(rows),
        eval_dataset=tiny.dataset(rows),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _step: 1.0)),
    )


def ppo() -> Iterator[dict[str, Any]]:
    fields = {"gamma": 0.95, "lam": 0.9, "kl_coef": 0.1, "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 1.0}
    for estimator in ("k1", "k3"):
        watch = Watch()
        watch.run(trainer_of(kl_estimator=estimator, **fields))
        (rollout,) = watch.rollouts
        mask = ~rollout["padding_mask"]
        yield tiny.case(
            f"ppo/kl_{estimator}",
            TRAIN_PATH,
            settings={"kl_estimator": estimator},
            inputs={"logprobs": rollout["logprobs"], "reference": rollout["ref_logprobs"], "mask": mask},
            outputs={"kl": rollout["kl"]},
        )
    yield from advantages(fields, rollout)
    yield from objectives(fields, watch.updates[-1])


def advantages(fields: dict[str, Any], rollout: dict[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    yield tiny.case(
        "ppo/rewards",
        TRAIN_PATH,
        settings={"kl_coef": fields["kl_coef"]},
        inputs={
            "scores": rollout["scores"],
            "kl": rollout["kl"],
            "mask": ~rollout["padding_mask"],
            "extended_mask": ~rollout["padding_mask_p1"],
        },
        outputs={"rewards": rollout["rewards"]},
    )
    yield tiny.case(
        "ppo/gae",
        TRAIN_PATH,
        settings={"gamma": fields["gamma"], "lam": fields["lam"]},
        inputs={
            "rewards": rollout["rewards"],
            "values": rollout["values"],
            "extended_mask": ~rollout["padding_mask_p1"],
        },
        outputs={"advantages": rollout["advantages"], "returns": rollout["advantages"] + rollout["values"]},
    )
    yield tiny.case(
        "ppo/whiten",
        WHITEN_PATH,
        settings={},
        inputs={"advantages": rollout["advantages"], "mask": ~rollout["padding_mask"]},
        outputs={"whitened": rollout["whitened"]},
    )


def objectives(fields: dict[str, Any], update: dict[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    """The last micro-batch of the second pass: the policy and the critic have moved from what they were."""
    mask, extended = ~update["padding_mask"], ~update["padding_mask_p1"]
    yield tiny.case(
        "ppo/policy_loss",
        TRAIN_PATH,
        settings={"cliprange": fields["cliprange"]},
        inputs={
            "logprobs": update["new_logprobs"],
            "old": update["mb_logprobs"],
            "advantages": update["mb_advantage"],
            "mask": mask,
        },
        outputs={"loss": update["pg_loss"], "slopes": update["new_logprobs_slope"]},
    )
    yield tiny.case(
        "ppo/value_loss",
        TRAIN_PATH,
        settings={"cliprange_value": fields["cliprange_value"], "vf_coef": fields["vf_coef"]},
        inputs={
            "values": update["vpred"],
            "old_values": update["mb_values"],
            "returns": update["mb_return"],
            "extended_mask": extended,
        },
        outputs={"loss": update["vf_loss"], "slopes": update["vpred_slope"]},
    )


RECORDERS = (ppo,)
