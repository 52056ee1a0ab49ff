"""Kahneman-Tversky optimisation (KTO) on answers labelled desirable or undesirable (Ethayarajh et al. 2024, eq. 8).

L = E[l] over all answers, where
    l = w_D (1 - sigmoid(beta (r - z0))) for a desirable answer,
    l = w_U (1 - sigmoid(beta (z0 - r))) for an undesirable answer.

r is the log-ratio log(pi/pi_ref)(y|x). Each pair is split into two single answers: the chosen answer is desirable, and
the rejected answer is undesirable. A batch can contain one answer of a pair without the other answer.

The reference point z0 is one number for each batch. To compute z0, each prompt of the batch is joined with an answer to
another prompt. z0 is the mean log-ratio of these mismatched answers, or 0 if the mean is negative. The mismatched
answers stay the same for the whole run, so that the reference makes only one forward pass over each of them. z0 is
computed from the whole batch before the update, so that z0 does not depend on the micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from preflab import ops
from preflab.batch import AnswerBatch, collate
from preflab.errors import UserError
from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.kto import kto_loss, kto_reference_point
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Preference, Rated


class KTO(Method):
    """The authors use beta .1, both weights 1, learning rate 5e-6, batches of 32 answers and one epoch. If the number
    n_D of desirable answers differs from the number n_U of undesirable answers, choose the weights so that w_D n_D /
    (w_U n_U) is in [1, 3/2].

    `pairs`: the number of pairs or single answers to train on (0: all). The run's seed determines which pairs or
    answers are used. `sft_coefficient`: the weight of the SFT term -log pi(y) / |y| that is added to the loss of
    desirable answers. If the run has a compute budget, `epochs` is ignored."""

    kind: Literal["kto"] = "kto"
    beta: Positive = 0.1
    desirable_weight: Positive = 1.0
    undesirable_weight: Positive = 1.0
    sft_coefficient: float = Field(default=0.0, ge=0)
    pairs: CountOrAll = 0
    epochs: Count = 1
    batch_size: Count = 32
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=5e-6)

    @property
    def learns_from(self) -> Records:
        return "rated"

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        # 1. Encode each answer twice, with its prompt and with another prompt. Add the reference log-probabilities.
        answers = buy_answers(parts, self.pairs)
        data = add_answers_reference(parts, collate_labelled(answers, policy, limit=self.max_completion_tokens))
        partners = find_partners(answers, lambda size: run.seeds.permute(size, "mismatched"))
        others = add_answers_reference(parts, mismatch(data, partners, context=policy.context))
        learner = parts.learner(policy.model, self.optim)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            rows = run.seeds.take_batch(step, len(data), self.batch_size)
            # 2. Compute the reference point from the mismatched answers of the whole batch.
            point = kto_reference_point(log_ratios(parts, others.select(rows)))
            # 3. Make one update on the answers of this step.
            terms = partial(labelled_terms, self, policy, point)
            run.record.log(learner.step(data.select(rows), terms, count=len(rows), progress=run.progress_of_update()))
            run.record.log({"reference_point": float(point)})
        return policy

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of the run. The reference makes two forward passes over each answer: one with the answer's
        prompt, and one with another prompt. In each epoch, the policy trains on each answer with its prompt, and makes
        a forward pass over the answer with the other prompt. A pair counts as two answers. If the data contain single
        answers, only these are counted, because the method then does not use pairs."""
        labels = self.pairs or size.rated or size.pairs
        answers = labels if size.rated else 2 * labels
        return Cost(trained=self.epochs * answers, forward=(2 + self.epochs) * answers, labels=labels)


@dataclass(frozen=True)
class Labelled(AnswerBatch):
    """A batch of answers with labels. `desirable`: Bool[B], True for desirable answers. `reference[B]`: the
    log-probability of each answer under the reference, summed over the answer's tokens."""

    desirable: Tensor
    reference: Tensor

    def select(self, rows: Sequence[int] | Tensor) -> Labelled:
        index = torch.as_tensor(rows)
        return Labelled(self.batch.select(index), self.desirable[index], self.reference[index])


def buy_answers(parts: Parts, count: int) -> list[Rated]:
    """Pays for the labels of the training answers. Returns one list, with the desirable answers before the undesirable
    answers. If the data contain single answers, takes `count` single answers (0: all). Otherwise takes `count` pairs,
    and splits each pair into two answers. A single answer costs one label, and a pair costs one label. Raises
    `UserError` if the data contain neither single answers nor pairs."""
    rated = parts.rated() if parts.rated is not None else ()
    if rated:
        return sorted(parts.buy(rated, count), key=lambda answer: not answer.desirable)
    pairs = parts.buy(parts.preferences(), count)
    if not pairs:
        raise UserError("There are no preference pairs to train on.")
    return take_apart(pairs)


def take_apart(pairs: Sequence[Preference]) -> list[Rated]:
    """Splits pairs into single answers: first all chosen answers, then all rejected answers."""
    chosen = [Rated(pair.prompt, pair.chosen, True) for pair in pairs]
    return [*chosen, *(Rated(pair.prompt, pair.rejected, False) for pair in pairs)]


def collate_labelled(answers: Sequence[Rated], policy: LanguageModel, *, limit: int) -> Labelled:
    """Converts the answers into a batch of token ids. Sets the `reference` of each answer to 0."""
    rows = [policy.encode(answer.prompt, answer.completion, limit) for answer in answers]
    batch = collate([row.prompt for row in rows], [row.answer for row in rows], [row.truncated for row in rows])
    desirable = torch.tensor([answer.desirable for answer in answers])
    return Labelled(batch, desirable, torch.zeros(len(rows)))


def find_partners(answers: Sequence[Rated], permute: Callable[[int], Sequence[int]]) -> list[int]:
    """Finds a partner for each answer: an answer with the same label and another prompt. Returns the row of each
    answer's partner. The answers of each label are arranged in a circle, in the order that `permute` gives. The partner
    of an answer is the next answer in the circle that has another prompt. Raises `UserError` if an answer has no
    partner."""
    partners = [0] * len(answers)
    for label in (True, False):
        rows = [row for row, answer in enumerate(answers) if answer.desirable == label]
        order = [rows[place] for place in permute(len(rows))]
        for place, row in enumerate(order):
            following = (order[(place + ahead) % len(order)] for ahead in range(1, len(order)))
            other = next((i for i in following if answers[i].prompt.turns != answers[row].prompt.turns), None)
            if other is None:
                raise UserError(
                    "KTO needs desirable answers to two or more prompts, and undesirable answers to two or more prompts."
                )
            partners[row] = other
    return partners


def mismatch(data: Labelled, partners: Sequence[int], *, context: int) -> Labelled:
    """Joins the prompt of each row with the answer of the partner row. Cuts the answer if the prompt and the answer
    together are longer than `context` tokens. Sets the `reference` of each row to 0."""
    batch = data.batch
    index = torch.tensor(partners)
    lengths = torch.minimum(batch.completion_lengths[index], context - batch.prompt_lengths)
    truncated = batch.truncated[index] | (lengths < batch.completion_lengths[index])
    others = replace(batch, completion_ids=batch.completion_ids[index], completion_lengths=lengths, truncated=truncated)
    return replace(data, batch=others, reference=torch.zeros(len(data)))


def add_answers_reference(parts: Parts, data: Labelled) -> Labelled:
    """Returns a copy of `data` in which `reference` contains the answers' log-probabilities under the current policy.
    In `data`, `reference` must be 0, because `log_ratios` subtracts it. Charges the forward pass to the run's meter."""
    return replace(data, reference=log_ratios(parts, data))


def log_ratios(parts: Parts, data: Labelled) -> Tensor:
    """Returns log(pi/pi_ref) of each answer: [B], without gradient. Charges the forward pass to the run's meter."""
    policy = parts.policy

    def ask(rows: Labelled) -> Tensor:
        return forward.sequence_logprobs(policy.model, rows.batch) - rows.reference

    parts.run.meter.forward(policy.size, data.tokens)
    return forward.by_micro_batch(policy.model, ask, data, parts.token_budget)


def labelled_terms(spec: KTO, policy: LanguageModel, point: Tensor, rows: Labelled) -> Terms:
    """Returns the unreduced loss of each answer: [B]. Logs three measures. `ratio`: the log-ratio. `signed_ratio`: the
    log-ratio of a desirable answer, or the negated log-ratio of an undesirable answer. This measure rises while the
    policy learns. `accuracy`: the share of answers whose log-ratio is on the right side of the reference point. The
    right side is above the point for a desirable answer and below the point for an undesirable answer. A log-ratio
    equal to the point counts one half."""
    logprobs = forward.sequence_logprobs(policy.model, rows.batch)
    ratios = logprobs - rows.reference
    weights = {"desirable_weight": spec.desirable_weight, "undesirable_weight": spec.undesirable_weight}
    terms = kto_loss(ratios, rows.desirable, point, beta=spec.beta, **weights)
    if spec.sft_coefficient:
        likelihood = logprobs / rows.batch.completion_lengths
        terms = terms - spec.sft_coefficient * torch.where(rows.desirable, likelihood, torch.zeros_like(likelihood))
    gains, rounding = ratios - point, forward.LOGPROB_ROUNDING * logprobs.abs()
    stats = {
        "ratio": ratios,
        "signed_ratio": torch.where(rows.desirable, ratios, -ratios),
        "accuracy": ops.order_accuracy(torch.where(rows.desirable, gains, -gains), rounding=rounding),
    }
    return Terms(terms, None, stats)
