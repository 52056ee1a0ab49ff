"""Losses on pairs: DPOTrainer, CPOTrainer, ORPOTrainer, OnlineDPOTrainer. One pair a call, so that each has its loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from recorders import tiny

DPO_PATH = "trl.trainer.dpo_trainer.DPOTrainer._compute_loss"
DPO_CASES: dict[str, dict[str, Any]] = {
    "dpo/sigmoid": {"loss_type": ["sigmoid"], "beta": 0.3},
    "dpo/hinge": {"loss_type": ["hinge"], "beta": 1.0},  # one row beyond the hinge, three before it
    "dpo/ipo": {"loss_type": ["ipo"], "beta": 0.5},
    "dpo/robust": {"loss_type": ["robust"], "beta": 0.3, "label_smoothing": 0.15},
    # `sigmoid` no longer reads label_smoothing; AOT does, and with one pair its sorting has nothing to sort.
    "dpo/aot": {"loss_type": ["aot"], "beta": 0.3, "label_smoothing": 0.15},
    "dpo/sft": {"loss_type": ["sft"]},
    "dpo/sigmoid+sft": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "beta": 0.3},
    # The two halves of chi-squared PO's link: alpha = 2 gives ratio - 1, reverse KL gives the log-ratio.
    "dpo/alpha_divergence": {
        "loss_type": ["sigmoid"],
        "beta": 0.3,
        "f_divergence_type": "alpha_divergence",
        "f_alpha_divergence_coef": 2.0,
    },
}
CPO_CASES: dict[str, dict[str, Any]] = {
    "cpo/sigmoid": {"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 1.0},
    "cpo/label_smoothing": {"loss_type": "sigmoid", "beta": 0.3, "cpo_alpha": 0.0, "label_smoothing": 0.15},
    "cpo/simpo": {"loss_type": "simpo", "beta": 2.0, "cpo_alpha": 0.0, "simpo_gamma": 0.5},
}


def stacked(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Columns from rows."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            columns[key].append(tiny.numbers(value))
    return dict(columns)


def batches(trainer: Any) -> Iterator[Any]:
    """The trainer's own rows through its own collator, one at a time."""
    for row in trainer.train_dataset:
        yield trainer.data_collator([row])


def dpo() -> Iterator[dict[str, Any]]:
    for name, fields in DPO_CASES.items():
        trainer = DPOTrainer(
            model=tiny.policy(),
            ref_model=tiny.near(7),
            args=DPOConfig(**tiny.settings(**fields)),
            train_dataset=tiny.dataset(tiny.PAIRS),
            processing_class=tiny.tokenizer(),
        )
        spies = [
            tiny.spy_on_outputs(model, lambda output: output.log_probs) for model in (trainer.model, trainer.ref_model)
        ]
        inputs, outputs = [], []
        for batch in batches(trainer):
            loss = trainer.compute_loss(trainer.model, batch)
            loss.backward()
            seen, reference = (spy.last for spy in spies)
            mask = batch["completion_mask"][:, 1:].bool()
            chosen, rejected = seen.sum(1)
            reference_chosen, reference_rejected = reference.sum(1)
            lengths = mask.sum(1)
            inputs.append(
                {
                    "chosen": chosen,
                    "rejected": rejected,
                    "reference_chosen": reference_chosen,
                    "reference_rejected": reference_rejected,
                    "chosen_lengths": lengths[0],
                    "rejected_lengths": lengths[1],
                }
            )
            slopes = [same(seen.grad[side][mask[side]]) for side in range(2)]
            outputs.append({"loss": loss, "chosen_slope": slopes[0], "rejected_slope": slopes[1]})
        yield tiny.case(name, DPO_PATH, settings=fields, inputs=stacked(inputs), outputs=stacked(outputs))


def same(slopes: Tensor) -> Tensor:
    """The one slope that all tokens of an answer share: the loss sees only their sum."""
    torch.testing.assert_close(slopes, slopes[:1].expand_as(slopes))
    return slopes[0]


def reference_free(trainer: Any, *, averaged: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of a CPO or ORPO trainer. Where it averages log-probabilities, their sums are recorded.

    Slopes are those of the preference term: the likelihood term reaches the logits by another way.
    """
    spy = trainer.get_batch_logps = tiny.Spy(trainer.get_batch_logps)
    inputs, outputs = [], []
    for batch in batches(trainer):
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        lengths = torch.stack([(batch[f"{side}_labels"] != -100).sum() for side in ("chosen", "rejected")])
        scale = lengths if averaged else torch.ones_like(lengths)
        sums, slopes = spy.last * scale, spy.last.grad / scale
        inputs.append(
            {"chosen": sums[0], "rejected": sums[1], "chosen_lengths": lengths[0], "rejected_lengths": lengths[1]}
        )
        outputs.append(
            {
                "loss": loss,
                "likelihood": trainer._stored_metrics["train"]["nll_loss"][-1],
                "chosen_slope": slopes[0],
                "rejected_slope": slopes[1],
            }
        )
    return stacked(inputs), stacked(outputs)


def cpo() -> Iterator[dict[str, Any]]:
    for name, fields in CPO_CASES.items():
        trainer = CPOTrainer(
            model=tiny.policy(),
            args=CPOConfig(**tiny.settings(**fields)),
            train_dataset=tiny.dataset(tiny.PAIRS),
            processing_class=tiny.tokenizer(),
        )
        inputs, outputs = reference_free(trainer, averaged=fields["loss_type"] == "simpo")
        path = "trl.experimental.cpo.cpo_trainer.CPOTrainer.cpo_loss"
        yield tiny.case(name, path, settings=fields, inputs=inputs, outputs=outputs)


def orpo() -> Iterator[dict[str, Any]]:
    fields = {"beta": 0.3}
    trainer = ORPOTrainer(
        model=tiny.policy(),
        args=ORPOConfig(**tiny.settings(**fields)),
        train_dataset=tiny.dataset(tiny.PAIRS),
        processing_class=tiny.tokenizer(),
    )
    inputs, outputs = reference_free(trainer, averaged=True)
    path = "trl.experimental.orpo.orpo_trainer.ORPOTrainer.odds_ratio_loss"
    yield tiny.case("orpo", path, settings=fields, inputs=inputs, outputs=outputs)


def online_dpo() -> Iterator[dict[str, Any]]:
    """The trainer samples two answers, ranks them by reward, and takes a step: one prompt a call.

    The inputs keep the order in which it sampled; `rewards` say which of the two is chosen.
    """
    for loss_type in ("sigmoid", "ipo"):
        fields = {"loss_type": loss_type, "beta": 0.4}
        trainer = OnlineDPOTrainer(
            model=tiny.policy(),
            ref_model=tiny.near(7),
            reward_funcs=lambda completions, **_: [float(sum(map(len, text))) % 7 for text in completions],
            args=OnlineDPOConfig(**tiny.settings(max_new_tokens=5, max_length=32, temperature=1.0, **fields)),
            train_dataset=tiny.dataset([{"prompt": row["prompt"]} for row in tiny.PAIRS]),
            processing_class=tiny.tokenizer(),
        )
        drawn = trainer._generate = tiny.Spy(trainer._generate)
        seen = trainer._forward = tiny.Spy(trainer._forward)
        judged = trainer._calculate_rewards_from_functions = tiny.Spy(trainer._calculate_rewards_from_functions)
        inputs, outputs = [], []
        torch.manual_seed(3)
        for row in tiny.PAIRS:
            loss = trainer.training_step(trainer.model, {"prompt": [row["prompt"]]})
            mask = drawn.last[3].bool()
            logprobs, reference = seen.seen[-2:]
            inputs.append(
                {
                    "logprobs": (logprobs * mask).sum(1),
                    "reference": (reference * mask).sum(1),
                    "lengths": mask.sum(1),
                    "rewards": judged.last,
                }
            )
            slopes = torch.stack([same(logprobs.grad[side][mask[side]]) for side in range(2)])
            outputs.append({"loss": loss, "slopes": slopes})
        path = "trl.experimental.online_dpo.online_dpo_trainer.OnlineDPOTrainer.training_step"
        yield tiny.case(
            f"online_dpo/{loss_type}", path, settings=fields, inputs=stacked(inputs), outputs=stacked(outputs)
        )


RECORDERS = (dpo, cpo, orpo, online_dpo)
