"""Direct preference optimisation, and the other losses on the log-ratios of preference pairs.

L_DPO = -E log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ) (paper, Section 1).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal, Protocol, TypeVar

from pydantic import Field, model_validator

from preflab import ops
from preflab.batch import PairBatch, collate_pairs
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.preference import REFERENCE_FREE, PairLogprobs, PreferenceLoss, preference_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms


class PairLoss(Protocol):
    """The settings of a method's preference loss; see `DPO`."""

    loss: str
    beta: float | None
    loss_settings: dict[str, float]


_PairLoss = TypeVar("_PairLoss", bound=PairLoss)


def require_pair_loss(spec: _PairLoss) -> _PairLoss:
    """Validates a method with a preference loss. Raises `UserError` if the loss or a setting does not exist. A loss of the
    user's own is not checked here, but in `check_names`."""
    if "beta" in spec.loss_settings:
        raise UserError("`beta` has a field of its own: set `beta`, not `loss_settings`.")
    if ":" not in spec.loss:
        make_pair_loss(spec)
    return spec


def make_pair_loss(spec: PairLoss) -> PreferenceLoss:
    """The method's preference loss with its settings filled in. Raises `UserError` as `preference_loss` does."""
    return preference_loss(spec.loss, beta=spec.beta, settings=spec.loss_settings)


class DPO(Method):
    """The paper's values: beta .1, learning rate 1e-6, 2 epochs on dialogue and 1 on code (Section 7).

    `loss`: a name of `losses.preference`, or `package.module:function`. If `beta` is None, the loss uses its own default.
    `loss_settings`: the loss's other hyper-parameters. `sft_coefficient`: the weight of the term -log pi(y_w) / |y_w| that
    is added to the loss (Pang et al. 2024, eq. 2; their weight is 1). `pairs`: the number of pairs to train on, drawn by the
    seed (0: all). A compute budget overrides `epochs`."""

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
        # 1. Pairs as ids, with their log-probabilities under the reference, which is the policy before its first update.
        pairs = parts.buy(parts.preferences(), self.pairs)
        data = collate_pairs(pairs, policy.encode, limit=self.max_completion_tokens)
        if self.loss not in REFERENCE_FREE:
            data = add_reference(parts, data)
        learner = parts.learner(policy.model, self.optim)
        terms = partial(pair_terms, policy, make_pair_loss(self), self.sft_coefficient)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            # 2. One update on the step's pairs.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            run.record.log(learner.step(batch, terms, count=len(batch), progress=run.progress))
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Both answers of each pair are trained on in each epoch. If the loss uses a reference, the reference reads both
        once."""
        answers = 2 * (self.pairs or size.pairs)
        return Cost(trained=self.epochs * answers, forward=0 if self.loss in REFERENCE_FREE else answers)


def add_reference(parts: Parts, data: PairBatch) -> PairBatch:
    """The pairs with the summed log-probabilities that the policy gives to both answers now. Two forward passes are
    charged."""
    model, sides = parts.policy.model, (data.chosen, data.rejected)
    ask = partial(forward.sequence_logprobs, model)
    chosen, rejected = (forward.by_micro_batch(model, ask, side, parts.token_budget) for side in sides)
    parts.run.meter.forward(parts.policy.size, data.tokens)
    return replace(data, reference_chosen=chosen, reference_rejected=rejected)


def pair_terms(policy: LanguageModel, loss: PreferenceLoss, sft_coefficient: float, pairs: PairBatch) -> Terms:
    """The loss's terms [B]. Logs both log-probabilities, the margin and the accuracy (a tie counts one half). If the pairs
    have a reference, margin and accuracy are measured against it, and `chosen_fall` is logged too: how far the chosen
    answer's log-probability fell below its log-probability under the reference."""
    logprobs = PairLogprobs(
        chosen=forward.sequence_logprobs(policy.model, pairs.chosen),
        rejected=forward.sequence_logprobs(policy.model, pairs.rejected),
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
