"""A reward model from preference pairs (Bradley-Terry): L_R = -E log sigmoid( r(x,y_w) - r(x,y_l) ) (paper, Section 1).

The reward model starts from the policy's weights with a new scalar head. It is validated by its accuracy and its calibration
on held-out pairs. Margins, soft labels, label smoothing and a length covariate modify this loss (`losses.reward`); all four
are off by default.
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
    """The paper gives no settings for the reward model. One epoch is the usual choice in the field, to avoid over-fitting.

    `pairs`: the number of pairs to train on, drawn by the seed (0: all). `margin`: the loss asks the two scores of a pair to
    differ by `margin` times the margin that the pair states (Touvron et al. 2023). `soft_labels`: uses the probability that
    a pair states, instead of 1, as its label. `label_smoothing`: the share of the labels that the loss takes to be wrong.
    `length_debias`: fits a separate covariate to what length explains, and leaves the covariate out of the model (Dubois et
    al. 2024). `member`: the number of this model in an ensemble; each number gives another data order and another head.
    `shared_head`: gives all members the same head, so that their weights can be averaged (`warm`).
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
        # 2. Pairs as ids: the training pairs, in the member's order, and the held-out pairs.
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
            # 3. One update of the model and of the length weight, on the step's pairs.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            terms = partial(bradley_terry_terms, scorer, length=length, smoothing=self.label_smoothing)
            run.record.log(length.follow(learner.step(batch, terms, count=len(batch), progress=run.progress)))
        return scorer

    def add_labels(self, data: PairBatch) -> PairBatch:
        """The pairs with the scaled margins and the probabilities, if the settings use them. Raises `UserError` if the
        settings use margins or probabilities but no pair states them."""
        columns = {"margin": (self.margin, data.margins), "probability": (self.soft_labels, data.probabilities)}
        for name, (setting, column) in columns.items():
            if setting and column is None:
                raise UserError(f"No preference pair states a {name}: the method cannot use it.")
        margins = self.margin * data.margins if self.margin and data.margins is not None else None
        return replace(data, margins=margins, probabilities=data.probabilities if self.soft_labels else None)

    def cost(self, size: DataSize) -> Cost:
        """Both answers of each pair are trained on in each epoch."""
        return Cost(trained=2 * self.epochs * (self.pairs or size.pairs))


class LengthWeight:
    """The weight phi of the length covariate in P(y_w over y_l) = sigmoid( r_w - r_l + phi x ); see `length_covariate`.

    phi learns together with the model, but by plain gradient steps that are longer than the model's steps, so that phi
    learns what length explains before the model does. The saved model does not hold phi. If `on` is False, phi stays 0 and
    is not logged.
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
        """Makes one step of the weight against the batch's mean gradient, which `bradley_terry_terms` logs as
        `length_gradient`. Returns the stats to log, with the new weight in place of the gradient."""
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
    """The loss's terms [B]. Logs accuracy and margin, computed from the scores alone."""
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
