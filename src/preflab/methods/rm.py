"""A reward model from preference pairs (Bradley-Terry): L_R = -E log sigmoid( r(x,y_w) - r(x,y_l) ) (paper, Section 1).

It starts from the policy's weights with a new scalar head. Held-out accuracy and calibration are its validation. Margins,
soft labels, label smoothing and a length covariate change the one loss (`losses.reward`); all are off by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field

from preflab import ops
from preflab.batch import PairBatch, collate_pairs
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll
from preflab.losses.reward import bradley_terry_loss, doubts, length_covariate
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.held_out import measure_held_out
from preflab.models import forward
from preflab.models.heads import make_reward_model
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms


class RM(Method):
    """The paper gives no settings for the reward model. One epoch is what the field usually takes, against over-fitting.

    `pairs`: how many, drawn by the seed (0: all). `margin`: the scores must differ by so many times the pair's own margin
    (Touvron et al. 2023). `soft_labels`: the pair's own probability instead of 1. `label_smoothing`: the share of labels
    that is taken to be wrong. `length_debias`: a covariate of its own is fitted to what length explains, and left out of the
    model (Dubois et al. 2024). `member`: each number has another data order and another head, for an ensemble; under
    `shared_head` all numbers have the same head, for an average of weights (`warm`).
    """

    kind: Literal["rm"] = "rm"
    product = "reward_model"
    pairs: CountOrAll = 0
    epochs: Count = 1
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    margin: float = Field(default=0.0, ge=0)
    soft_labels: bool = False
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    length_debias: bool = False
    member: int = Field(default=0, ge=0)
    shared_head: bool = False
    optim: Optim = Optim(learning_rate=1e-5)

    @property
    def learns_from(self) -> Records:
        return "preferences"

    def train(self, parts: Parts) -> LanguageModel:
        run = parts.run
        # 1. The model: the policy's weights under a scalar head.
        own_head = (self.member,) if self.member and not self.shared_head else ()
        scorer = make_reward_model(parts.policy, seed=run.seeds.derive("head", *own_head))
        # 2. Pairs as ids: to train on, in the member's order, and held out.
        limit = self.max_completion_tokens
        pairs = parts.buy(parts.preferences(), self.pairs)
        if self.member:
            pairs = [pairs[row] for row in run.seeds.permute(len(pairs), "member", self.member)]
        data = self.add_labels(collate_pairs(pairs, scorer.encode, limit=limit))
        held_out = collate_pairs(parts.testbed.preferences("validation"), scorer.encode, limit=limit)
        learner, length = parts.learner(scorer.model, self.optim), LengthWeight(data, on=self.length_debias)
        total = self.epochs * -(-len(data) // self.batch_size)
        state = {"reward_model": learner, "length": length}
        validate = partial(measure_held_out, pairs=held_out, token_budget=parts.token_budget)
        for step in run.steps(total, state, policy=scorer, validate=validate):
            # 3. One update on the step's pairs, of the model and of the length's weight.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            terms = partial(bradley_terry_terms, scorer, length=length, smoothing=self.label_smoothing)
            run.record.log(length.follow(learner.step(batch, terms, count=len(batch), progress=run.progress)))
        return scorer

    def add_labels(self, data: PairBatch) -> PairBatch:
        """The pairs with the scaled margins and the probabilities that the settings use. Raises `UserError` where no pair
        states any."""
        columns = {"margin": (self.margin, data.margins), "probability": (self.soft_labels, data.probabilities)}
        for name, (setting, column) in columns.items():
            if setting and column is None:
                raise UserError(f"No preference pair states a {name}: the method cannot use it.")
        margins = self.margin * data.margins if self.margin and data.margins is not None else None
        return replace(data, margins=margins, probabilities=data.probabilities if self.soft_labels else None)

    def cost(self, size: DataSize) -> Cost:
        """Both answers of each pair, in each epoch."""
        return Cost(trained=2 * self.epochs * (self.pairs or size.pairs))


class LengthWeight:
    """The weight phi of the length covariate in P(y_w over y_l) = sigmoid( r_w - r_l + phi x ); see `length_covariate`.

    It learns beside the model, by plain gradient steps that are longer than the model's: phi learns what length explains
    before the model does. The saved model does not hold it. Switched off, it stays 0 and is not logged.
    """

    RATE = 1.0  # stable: the curvature is at most E[x^2] / 4

    def __init__(self, data: PairBatch, *, on: bool) -> None:
        self.on = on
        difference = (data.chosen.completion_lengths - data.rejected.completion_lengths).double()
        self.spread = float(difference.std(correction=0)) or 1.0  # without spread the covariate is 0 or a constant
        self.weight = 0.0

    def covariate(self, pairs: PairBatch) -> torch.Tensor:
        return length_covariate(pairs.chosen.completion_lengths, pairs.rejected.completion_lengths, self.spread)

    def follow(self, stats: Mapping[str, float]) -> dict[str, float]:
        """One step against the batch's mean gradient, which `bradley_terry_terms` logs. Returns the stats to log, with the
        weight in its place."""
        stats = dict(stats)
        if self.on:
            self.weight -= self.RATE * stats.pop("length_gradient")
            stats["length_weight"] = self.weight
        return stats

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight = state["weight"]


def bradley_terry_terms(
    scorer: LanguageModel, pairs: PairBatch, *, length: LengthWeight | None = None, smoothing: float = 0.0
) -> Terms:
    """The loss's terms [B], with accuracy and margin of the scores alone."""
    chosen = forward.scores(scorer.model, pairs.chosen)
    rejected = forward.scores(scorer.model, pairs.rejected)
    stats = {"accuracy": ops.order_accuracy(chosen - rejected), "margin": chosen - rejected}
    shift = None if pairs.margins is None else -pairs.margins
    if length is not None and length.on:
        x = length.covariate(pairs)
        shift = length.weight * x if shift is None else shift + length.weight * x
        z = (chosen - rejected + shift).detach()
        stats["length_gradient"] = (torch.sigmoid(z) - 1.0 + doubts(z, pairs.probabilities, smoothing)) * x
    terms = bradley_terry_loss(chosen, rejected, shift=shift, probability=pairs.probabilities, smoothing=smoothing)
    return Terms(terms, None, stats)
