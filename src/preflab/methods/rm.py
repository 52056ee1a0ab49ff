"""Trains a reward model on pairs (Bradley-Terry).

L_R = -E log sigmoid( r(x,y_w) - r(x,y_l) ) (Xu et al. 2024, Section 1).

The reward model starts from the policy's weights with a new scalar head. The validation measures the model's accuracy
and calibration on held-out pairs. Margins, soft labels, label smoothing and a length covariate can modify the loss
(`losses.reward`); all four are off by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from preflab.batch import PairBatch, collate_pairs
from preflab.encoded import EncodedRows
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
from preflab.train.state import require_number
from preflab.types import Preference


class RM(Method):
    """Xu et al. 2024 give no settings for the reward model. The default is one epoch, the usual choice to avoid
    over-fitting.

    `pairs`: the number of pairs to train on (0: all). The run's seed determines which pairs are used. `margin`: a
    factor (0: no margin). The loss multiplies the margin given in a pair by this factor, and subtracts the product from
    the difference of the pair's scores (Touvron et al. 2023). `soft_labels`: if true, the label of a pair is the
    probability given in the pair instead of 1. `label_smoothing`: the share of the labels that the loss assumes to be
    wrong. `length_debias`: if true, a separate covariate learns the effect of the answers' lengths (Dubois et al.
    2024). The covariate is not saved with the model. `member`: the index of this model in an ensemble. Models with
    different indices have different data orders and different initial heads. `shared_head`: if true, all members start
    with the same head, so that the method `warm` can average their weights.
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
        # 1. Make the model: the policy's weights with a scalar head.
        own_head = (self.member,) if self.member and not self.shared_head else ()
        scorer = make_reward_model(parts.policy, seed=run.seeds.derive("head", *own_head))
        # 2. Take the training pairs, in the order of this ensemble member, and the held-out pairs.
        limit = self.max_completion_tokens
        pairs = parts.buy(parts.preferences(), self.pairs)
        self.require_labels(pairs)
        if self.member:
            pairs = [pairs[row] for row in run.seeds.permute(len(pairs), "member", self.member)]
        data = EncodedRows(pairs, collate_pairs, scorer.encode, limit=limit)
        held_out = collate_pairs(parts.testbed.preferences("validation"), scorer.encode, limit=limit)
        differences = data.measure(length_differences) if self.length_debias else None
        learner, length = parts.learner(scorer.model, self.optim), LengthWeight(differences)
        total = self.epochs * -(-len(data) // self.batch_size)
        state = {"reward_model": learner, "length": length}
        validate = partial(measure_held_out, pairs=held_out, token_budget=parts.token_budget)
        for step in run.steps(total, state, policy=scorer, validate=validate):
            # 3. Update the model and the length weight on the pairs of this step.
            batch = self.add_labels(data.select(run.seeds.take_batch(step, len(data), self.batch_size)))
            terms = partial(bradley_terry_terms, scorer, length=length, smoothing=self.label_smoothing)
            run.record.log(
                length.follow(learner.step(batch, terms, count=len(batch), progress=run.progress_of_update()))
            )
        return scorer

    def require_labels(self, pairs: Sequence[Preference]) -> None:
        """Raises `UserError` if the settings use margins but no pair has a margin, or if the settings use probabilities
        but no pair has a probability."""
        used = {"margin": self.margin, "probability": self.soft_labels}
        given = {
            "margin": any(pair.margin is not None for pair in pairs),
            "probability": any(pair.probability is not None for pair in pairs),
        }
        for name, setting in used.items():
            if setting and not given[name]:
                raise UserError(
                    f"No preference pair has a {name}. Add the {name} of each pair to the data, or turn off the setting "
                    "that uses it."
                )

    def add_labels(self, data: PairBatch) -> PairBatch:
        """Returns a copy of the batch in which the margins are multiplied by the setting `margin`. Removes margins and
        probabilities that the settings do not use."""
        margins = self.margin * data.margins if self.margin and data.margins is not None else None
        return replace(data, margins=margins, probabilities=data.probabilities if self.soft_labels else None)

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on both answers of each pair in each epoch."""
        pairs = self.pairs or size.pairs
        return Cost(trained=2 * self.epochs * pairs, labels=pairs)


class LengthWeight:
    """The weight phi of the length covariate x in P(y_w over y_l) = sigmoid( r_w - r_l + phi x ); see
    `length_covariate`.

    phi is trained together with the model, by plain gradient descent with a larger learning rate, so that phi learns
    the effect of length before the model does. phi is not saved with the model. `differences`: the length differences
    of all training pairs (see `length_differences`). If `differences` is None, phi stays 0 and is not logged.
    """

    # The learning rate of phi. Training is stable at this rate, because the second derivative of the loss with respect to
    # phi is at most E[x^2] / 4, and |x| < 1.
    RATE = 1.0

    def __init__(self, differences: Tensor | None) -> None:
        self.on = differences is not None
        self.weight = 0.0
        spread = 1.0 if differences is None else float(differences.double().std(correction=0))
        self.spread = spread or 1.0  # 1 if all differences are equal

    def covariate(self, pairs: PairBatch) -> Tensor:
        return length_covariate(pairs.chosen.completion_lengths, pairs.rejected.completion_lengths, self.spread)

    def follow(self, stats: Mapping[str, float]) -> dict[str, float]:
        """Makes one gradient step on the weight with the batch's mean gradient, which is `length_gradient` in `stats`.
        Returns the stats to log, with the new weight in place of the gradient."""
        stats = dict(stats)
        if self.on:
            self.weight -= self.RATE * stats.pop("length_gradient")
            stats["length_weight"] = self.weight
        return stats

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weight = require_number(state, "weight")


def length_differences(pairs: PairBatch) -> Tensor:
    """Returns the length difference of each pair, [B]: the number of tokens of the chosen answer minus the number of
    tokens of the rejected answer."""
    return pairs.chosen.completion_lengths - pairs.rejected.completion_lengths


def bradley_terry_terms(
    scorer: LanguageModel, pairs: PairBatch, *, length: LengthWeight | None = None, smoothing: float = 0.0
) -> Terms:
    """Returns the unreduced loss of each pair: [B]. Logs the accuracy and the margin, both computed from the model's
    scores without the length covariate."""
    chosen, rejected = forward.pair_scores(scorer.model, pairs).unbind(dim=1)
    stats = {"accuracy": forward.order_of_scores(chosen, rejected), "margin": chosen - rejected}
    shift = None if pairs.margins is None else -pairs.margins
    if length is not None and length.on:
        x = length.covariate(pairs)
        shift = length.weight * x if shift is None else shift + length.weight * x
        z = (chosen - rejected + shift).detach()
        stats["length_gradient"] = (torch.sigmoid(z) - 1.0 + doubts(z, pairs.probabilities, smoothing)) * x
    terms = bradley_terry_loss(chosen, rejected, shift=shift, probability=pairs.probabilities, smoothing=smoothing)
    return Terms(terms, None, stats)
