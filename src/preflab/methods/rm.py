"""A reward model from preference pairs (Bradley-Terry): L_R = -E log sigmoid( r(x,y_w) - r(x,y_l) ) (paper, Section 1).

It starts from the policy's weights with a new scalar head. Held-out accuracy and calibration are its validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch

from preflab.batch import PairBatch, collate_pairs
from preflab.losses.reward import bradley_terry_loss
from preflab.methods.base import Count, CountOrAll, Method, Parts
from preflab.models import forward
from preflab.models.heads import reward_model
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms


class RM(Method):
    """The paper gives no settings for the reward model; one epoch is the field's habit against over-fitting.
    `pairs`: how many, drawn by the seed (0: all)."""

    kind: Literal["rm"] = "rm"
    product = "reward_model"
    pairs: CountOrAll = 0
    epochs: Count = 1
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=1e-5)

    def train(self, parts: Parts) -> LanguageModel:
        run = parts.run
        # 1. The model: the policy's weights under a scalar head.
        scorer = reward_model(parts.policy, seed=run.seed_for("head"))
        # 2. Pairs as ids: to train on, and held out.
        limit = self.max_completion_tokens
        pairs = run.pairs(parts.preferences(), self.pairs, paid=parts.labels_paid)
        data = collate_pairs(pairs, scorer.encode, limit=limit)
        held_out = collate_pairs(parts.testbed.preferences("validation"), scorer.encode, limit=limit)
        learner = parts.learner(scorer.model, self.optim)
        total = self.epochs * -(-len(data) // self.batch_size)

        def validate(lm: LanguageModel) -> Mapping[str, float]:
            return held_out_measures(lm, held_out, parts.token_budget)

        for step in run.steps(total, {"reward_model": learner}, policy=scorer, validate=validate):
            # 3. One update on the step's pairs.
            batch = data.select(run.rows(step, len(data), self.batch_size))
            run.log(learner.step(batch, lambda rows: bt(scorer, rows), count=len(batch), progress=run.progress))
        return scorer


def bt(scorer: LanguageModel, pairs: PairBatch) -> Terms:
    """The loss's terms [B], with accuracy and margin."""
    chosen = forward.scores(scorer.model, pairs.chosen)
    rejected = forward.scores(scorer.model, pairs.rejected)
    stats = {"accuracy": (chosen > rejected).float(), "margin": chosen - rejected}
    return Terms(bradley_terry_loss(chosen, rejected), None, stats)


def held_out_measures(scorer: LanguageModel, pairs: PairBatch, token_budget: int) -> dict[str, float]:
    """Accuracy (a tie counts half), log-loss, expected calibration error in ten bins, and the scores' mean and spread.

    Calibration: the gap between the stated sigmoid(margin), folded to >= 1/2, and the share of pairs so ordered.
    The score that selects checkpoints is minus the log-loss, which an over-confident model pays for.
    """
    chosen = forward.by_micro_batch(
        scorer.model, lambda rows: forward.scores(scorer.model, rows), pairs.chosen, token_budget
    )
    rejected = forward.by_micro_batch(
        scorer.model, lambda rows: forward.scores(scorer.model, rows), pairs.rejected, token_budget
    )
    margin = (chosen - rejected).double()
    right = (margin > 0).double() + 0.5 * (margin == 0).double()
    stated = torch.sigmoid(margin.abs())
    bins = ((stated - 0.5) * 20).long().clamp(max=9)
    gaps = [(right[bins == b].sum() - stated[bins == b].sum()).abs() for b in range(10)]
    loss = float(bradley_terry_loss(chosen, rejected).mean())
    both = torch.cat([chosen, rejected])
    return {
        "score": -loss,
        "accuracy": float(right.mean()),
        "loss": loss,
        "calibration_error": float(torch.stack(gaps).sum() / len(margin)),
        "score_mean": float(both.mean()),
        "score_std": float(both.std()),
    }
