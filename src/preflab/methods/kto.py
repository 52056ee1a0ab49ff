"""Kahneman-Tversky optimisation (KTO) from answers labelled desirable or undesirable (Ethayarajh et al. 2024, eq. 8).

L = E[ w_D (1 - sigmoid(beta (r - z0))) ] over desirable answers,
    E[ w_U (1 - sigmoid(beta (z0 - r))) ] over undesirable answers.

Here r = log(pi/pi_ref)(y|x). Each pair is split into two single answers: the chosen answer is desirable, and the
rejected answer is undesirable. A batch may contain one answer of a pair without the other answer.

The reference point z0 is one number for each batch. Each prompt of the batch is joined with an answer to another
prompt; z0 is the mean log-ratio of these mismatched answers, or 0 if that mean is negative. The mismatched answers are
assigned once for the whole run, so that each of them needs only one forward pass of the reference. z0 is computed from
the whole batch before the update, so that z0 does not depend on the micro-batches.
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

    `pairs`: the number of pairs or single answers to train on (0: all); the run's seed selects them. `sft_coefficient`:
    the weight of the SFT term -log pi(y) / |y| that is added to the loss of desirable answers. If the run has a compute
    budget, `epochs` is ignored."""

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
        # 1. Encode the answers, once with their own prompt and once with another; add the reference log-probabilities.
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
        """Counts two forward passes of the reference over each answer: one with the answer's own prompt, and one with
        another prompt. In each epoch, the policy trains on each answer with its own prompt, and makes a forward pass
        over the answer with the other prompt. A pair has two answers. If the data have single answers, the method
        learns from these alone."""
        labels = self.pairs or size.rated or size.pairs
        answers = labels if size.rated else 2 * labels
        return Cost(trained=self.epochs * answers, forward=(2 + self.epochs) * answers, labels=labels)


@dataclass(frozen=True)
class Labelled(AnswerBatch):
    """A batch of answers with labels. `desirable`: Bool[B], True for desirable answers. `reference[B]`: each answer's
    log-probability under the reference, summed over its tokens."""

    desirable: Tensor
    reference: Tensor

    def select(self, rows: Sequence[int] | Tensor) -> Labelled:
        index = torch.as_tensor(rows)
        return Labelled(self.batch.select(index), self.desirable[index], self.reference[index])


def buy_answers(parts: Parts, count: int) -> list[Rated]:
    """Pays for the labels of the training answers, and returns the answers: first the desirable answers, then the
    undesirable ones. If the data have single answers, takes `count` of them (0: all); otherwise takes `count` pairs and
    splits each into two answers. A single answer costs one label, and a pair costs one label. Raises `UserError` if the
    data have neither single answers nor pairs."""
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
    """Returns the answers as token ids; the `reference` of each answer is 0."""
    rows = [policy.encode(answer.prompt, answer.completion, limit) for answer in answers]
    batch = collate([row.prompt for row in rows], [row.answer for row in rows], [row.truncated for row in rows])
    desirable = torch.tensor([answer.desirable for answer in answers])
    return Labelled(batch, desirable, torch.zeros(len(rows)))


def find_partners(answers: Sequence[Rated], permute: Callable[[int], Sequence[int]]) -> list[int]:
    """Finds a partner for each answer: the next answer that has the same label and another prompt, in the order that
    `permute` returns. Returns the partner's row for each answer. Raises `UserError` if an answer has no partner."""
    partners = [0] * len(answers)
    for label in (True, False):
        rows = [row for row, answer in enumerate(answers) if answer.desirable == label]
        order = [rows[place] for place in permute(len(rows))]
        for place, row in enumerate(order):
            following = (order[(place + ahead) % len(order)] for ahead in range(1, len(order)))
            other = next((i for i in following if answers[i].prompt.turns != answers[row].prompt.turns), None)
            if other is None:
                raise UserError("KTO needs answers to two or more prompts with each label, desirable and undesirable.")
            partners[row] = other
    return partners


def mismatch(data: Labelled, partners: Sequence[int], *, context: int) -> Labelled:
    """Joins each prompt with the answer of its partner, and cuts the answer if prompt and answer exceed the model's
    context. The `reference` of each row is 0."""
    batch = data.batch
    index = torch.tensor(partners)
    lengths = torch.minimum(batch.completion_lengths[index], context - batch.prompt_lengths)
    truncated = batch.truncated[index] | (lengths < batch.completion_lengths[index])
    others = replace(batch, completion_ids=batch.completion_ids[index], completion_lengths=lengths, truncated=truncated)
    return replace(data, batch=others, reference=torch.zeros(len(data)))


def add_answers_reference(parts: Parts, data: Labelled) -> Labelled:
    """Sets `reference`, which must be 0 in `data`, to the answers' log-probabilities under the current policy. Charges
    the forward pass to the run's meter."""
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
    log-ratio of a desirable answer, or the negated log-ratio of an undesirable answer; this measure rises as the policy
    learns. `accuracy`: the share of answers whose log-ratio is on the right side of the reference point. The right side
    is above the point for a desirable answer and below the point for an undesirable answer; a log-ratio equal to the
    point counts one half."""
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
