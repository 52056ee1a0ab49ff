"""Trains the policy on preference pairs by direct preference optimisation (DPO) or with another loss on pairs.

L_DPO = -E log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ) (Xu et al. 2024, Section 1).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, Protocol, TypeVar

from pydantic import Field, model_validator
from torch import Tensor

from preflab import ops
from preflab.batch import PairBatch, collate_pairs
from preflab.encoded import EncodedRows
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.preference import REFERENCE_FREE, PairLogprobs, PreferenceLoss, preference_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Preference


class PairLoss(Protocol):
    """The settings that choose the preference loss of a method. The docstring of `DPO` describes these settings."""

    loss: str
    beta: float | None
    loss_settings: dict[str, float]


_PairLoss = TypeVar("_PairLoss", bound=PairLoss)


def require_pair_loss(spec: _PairLoss) -> _PairLoss:
    """Checks the preference loss of a method's spec and returns the spec. Raises `UserError` if the loss or one of its
    settings does not exist. This function does not check a user-written loss (`module:function`). The spec's function
    `check_names` checks such a loss."""
    if "beta" in spec.loss_settings:
        raise UserError("`loss_settings` must not contain `beta`. Set the field `beta` instead.")
    if ":" not in spec.loss:
        make_pair_loss(spec)
    return spec


def make_pair_loss(spec: PairLoss) -> PreferenceLoss:
    """Returns the loss function that the settings of a method choose. Raises `UserError` if the loss or one of its
    settings does not exist."""
    return preference_loss(spec.loss, beta=spec.beta, settings=spec.loss_settings)


class DPO(Method):
    """Xu et al. 2024 use beta .1, learning rate 1e-6, 2 epochs on dialogue and 1 epoch on code (Section 7).

    `loss`: the name of a loss in `losses.preference`, or `package.module:function` for a user-written loss. If `beta`
    is None, the default beta of the loss is used. `loss_settings`: the hyper-parameters of the loss other than beta.
    `sft_coefficient`: the weight of the SFT term -log pi(y_w) / |y_w| that is added to the loss (Pang et al. 2024, eq.
    2, with weight 1). `pairs`: the number of pairs to train on (0: all). The run's seed determines which pairs are
    used. If the run has a compute budget, `epochs` is ignored."""

    kind: Literal["dpo"] = "dpo"
    loss: str = "sigmoid"
    beta: Positive | None = None
    loss_settings: dict[str, float] = {}
    sft_coefficient: float = Field(default=0.0, ge=0)
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    pairs: CountOrAll = 0
    epochs: Count = 2
    optim: Optim = Optim(learning_rate=1e-6)

    _loss_exists = model_validator(mode="after")(require_pair_loss)

    @property
    def learns_from(self) -> Records:
        return "preferences"

    def check_names(self) -> None:
        super().check_names()
        make_pair_loss(self)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        # 1. Take the pairs. The reference model of the loss is the policy before its first update.
        pairs = parts.buy(parts.preferences(), self.pairs)
        data = EncodedRows(pairs, collate_pairs, policy.encode, limit=self.max_completion_tokens)
        reference = None if self.loss in REFERENCE_FREE else reference_logprobs(parts, data)
        learner = parts.learner(policy.model, self.optim)
        terms = partial(pair_terms, policy, make_pair_loss(self), self.sft_coefficient)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            # 2. Make one update on the pairs of this step.
            rows = run.seeds.take_batch(step, len(data), self.batch_size)
            batch = with_reference(data.select(rows), None if reference is None else reference[rows])
            run.record.log(learner.step(batch, terms, count=len(batch), progress=run.progress_of_update()))
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on both answers of each pair in each epoch. If the loss uses a reference, the
        reference also makes one forward pass over each answer."""
        pairs = self.pairs or size.pairs
        read = 0 if self.loss in REFERENCE_FREE else 2 * pairs
        return Cost(trained=2 * self.epochs * pairs, forward=read, labels=pairs)


def reference_logprobs(parts: Parts, data: PairBatch | EncodedRows[Preference, PairBatch]) -> Tensor:
    """Returns the log-probabilities of both answers of each pair under the reference: [B,2], the chosen answer first.
    At the time of the call, the policy's model must have the weights of the reference. Charges the forward passes over
    both answers to the run's meter."""
    model = parts.policy.model
    parts.run.meter.forward(parts.policy.size, data.tokens)
    return forward.by_micro_batch(model, partial(forward.pair_logprobs, model), data, parts.token_budget)


def with_reference(pairs: PairBatch, logprobs: Tensor | None) -> PairBatch:
    """Returns a copy of the pairs that contains the reference's log-probabilities. `logprobs`: the result of
    `reference_logprobs` for these pairs. If `logprobs` is None, returns the pairs unchanged."""
    if logprobs is None:
        return pairs
    return replace(pairs, reference_chosen=logprobs[:, 0], reference_rejected=logprobs[:, 1])


def pair_terms(policy: LanguageModel, loss: PreferenceLoss, sft_coefficient: float, pairs: PairBatch) -> Terms:
    """Returns the unreduced loss of each pair: [B]. Logs the log-probabilities of both answers, the margin and the
    accuracy (a tie counts one half). If the pairs have no reference log-probabilities, the margin is the difference of
    the two log-probabilities. If the pairs have reference log-probabilities, the margin is the difference of the two
    log-ratios. In this case, `chosen_fall` is also logged: the chosen answer's log-probability under the reference,
    minus its log-probability under the policy."""
    chosen, rejected = forward.pair_logprobs(policy.model, pairs).unbind(dim=1)
    logprobs = PairLogprobs(
        chosen=chosen,
        rejected=rejected,
        reference_chosen=pairs.reference_chosen,
        reference_rejected=pairs.reference_rejected,
        chosen_lengths=pairs.chosen.completion_lengths,
        rejected_lengths=pairs.rejected.completion_lengths,
    )
    terms = loss(logprobs)
    if sft_coefficient:
        terms = terms - sft_coefficient * logprobs.chosen / logprobs.chosen_lengths
    margin = logprobs.chosen - logprobs.rejected if pairs.reference_chosen is None else logprobs.margin
    stats = {"chosen_logprob": logprobs.chosen, "rejected_logprob": logprobs.rejected}
    rounding = forward.LOGPROB_ROUNDING * (logprobs.chosen.abs() + logprobs.rejected.abs())
    stats |= {"margin": margin, "accuracy": ops.order_accuracy(margin, rounding=rounding)}
    if pairs.reference_chosen is not None:
        stats["chosen_fall"] = -logprobs.chosen_ratio
    return Terms(terms, None, stats)
