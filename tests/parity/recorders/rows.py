"""Losses on single answers and on scores: SFTTrainer, KTOTrainer, RewardTrainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from trl import KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from recorders import tiny
from recorders.pairs import batches, stacked

# Log-ratios of the mismatched answers that lie above 0 on average, and below (where TRL's estimate of the KL is 0).
KTO_MODELS = {"kto": (lambda: tiny.near(7), tiny.policy), "kto/kl_clamped": (tiny.policy, lambda: tiny.near(7))}


def sft() -> Iterator[dict[str, Any]]:
    """Four answers in one batch: the loss is the mean over all their tokens."""
    trainer = SFTTrainer(
        model=tiny.policy(),
        args=SFTConfig(**tiny.settings(completion_only_loss=True)),
        train_dataset=tiny.dataset([{"prompt": row["prompt"], "completion": row["chosen"]} for row in tiny.PAIRS]),
        processing_class=tiny.tokenizer(),
    )
    spy = tiny.spy_on_outputs(trainer.model, lambda output: output.log_probs)
    batch = trainer.data_collator(list(trainer.train_dataset))
    mask = batch["labels"][:, 1:] != -100
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    yield tiny.case(
        "sft",
        "trl.trainer.sft_trainer.SFTTrainer.compute_loss",
        settings={},
        inputs={"logprobs": spy.last, "mask": mask},
        outputs={"loss": loss, "slopes": spy.last.grad * mask},
    )


def kto() -> Iterator[dict[str, Any]]:
    """Two good answers, two bad ones; TRL pairs each prompt with another row's answer to estimate the KL."""
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row, side in zip(tiny.PAIRS, ("chosen", "rejected", "rejected", "chosen"), strict=True)
    ]
    fields = {"beta": 0.5, "desirable_weight": 1.2, "undesirable_weight": 0.7}
    for name, (policy, reference) in KTO_MODELS.items():
        trainer = KTOTrainer(
            model=policy(),
            ref_model=reference(),
            args=KTOConfig(**tiny.settings(**fields)),
            train_dataset=tiny.dataset(rows),
            processing_class=tiny.tokenizer(),
        )
        spies = [
            tiny.spy_on_outputs(model, lambda output: output.log_probs) for model in (trainer.model, trainer.ref_model)
        ]
        batch = trainer.data_collator(list(trainer.train_dataset))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        # Each model sees the mismatched answers first, then the answers themselves.
        (mismatched, seen), (reference_mismatched, reference_seen) = (spy.seen for spy in spies)
        mask = batch["completion_mask"][:, 1:].bool()
        slopes = torch.where(mask, seen.grad, 0).sum(1) / mask.sum(1)
        yield tiny.case(
            name,
            "trl.trainer.kto_trainer.KTOTrainer._compute_loss",
            settings=fields,
            inputs={
                "logprobs": seen.sum(1),
                "reference": reference_seen.sum(1),
                "mismatched": mismatched.sum(1),
                "mismatched_reference": reference_mismatched.sum(1),
                "desirable": batch["label"].bool(),
                "lengths": mask.sum(1),
            },
            outputs={"loss": loss, "slopes": slopes, "kl": trainer._metrics["train"]["kl"][-1]},
        )


def reward() -> Iterator[dict[str, Any]]:
    """A pair a call, with and without a margin between the scores."""
    for name, margins in {"reward": None, "reward/margin": [0.5, 0.0, 1.5, 0.25]}.items():
        rows = [
            {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"]} for row in tiny.PAIRS
        ]
        if margins:
            rows = [{**row, "margin": margin} for row, margin in zip(rows, margins, strict=True)]
        trainer = RewardTrainer(
            model=tiny.scorer(5),
            args=RewardConfig(**tiny.settings()),
            train_dataset=tiny.dataset(rows),
            processing_class=tiny.tokenizer(),
        )
        spy = tiny.spy_on_outputs(trainer.model, lambda output: output.logits)
        inputs, outputs = [], []
        for batch in batches(trainer):
            loss = trainer.compute_loss(trainer.model, batch)
            loss.backward()
            (chosen, rejected), (chosen_slope, rejected_slope) = spy.last.squeeze(1), spy.last.grad.squeeze(1)
            inputs.append({"chosen": chosen, "rejected": rejected})
            outputs.append({"loss": loss, "chosen_slope": chosen_slope, "rejected_slope": rejected_slope})
        columns = stacked(inputs) | ({"margin": margins} if margins else {})
        path = "trl.trainer.reward_trainer.RewardTrainer.compute_loss"
        yield tiny.case(name, path, settings={}, inputs=columns, outputs=stacked(outputs))


RECORDERS = (sft, kto, reward)
