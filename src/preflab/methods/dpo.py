"""Direct preference optimisation and every loss of its shape: losses on the log-ratios of preference pairs.

L_DPO = -E log sigmoid( beta * [log(pi/pi_ref)(y_w) - log(pi/pi_ref)(y_l)] ) (paper, Section 1).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from preflab.batch import PairBatch, collate_pairs
from preflab.losses.preference import PreferenceLoss, preference_loss
from preflab.methods.base import Count, CountOrAll, Method, Parts, Positive
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms


class DPO(Method):
    """The paper's values: beta .1, learning rate 1e-6, 2 epochs on dialogue and 1 on code (Section 7).
    `pairs`: how many, drawn by the seed (0: all). Under a compute budget `epochs` gives way to it."""

    kind: Literal["dpo"] = "dpo"
    loss: str = "sigmoid"
    beta: Positive = 0.1
    pairs: CountOrAll = 0
    epochs: Count = 2
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=1e-6)

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        # 1. Pairs as ids, and what the reference (the policy as it is now) says of them: once, since it stays.
        pairs = run.pairs(parts.preferences(), self.pairs, paid=parts.labels_paid)
        data = collate_pairs(pairs, policy.encode, limit=self.max_completion_tokens)
        data = with_reference(parts, policy, data)
        learner = parts.learner(policy.model, self.optim)
        loss = preference_loss(self.loss)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            # 2. One update on the step's pairs.
            batch = data.select(run.rows(step, len(data), self.batch_size))
            update = learner.step(
                batch,
                lambda rows: pair_terms(policy, rows, loss, self.beta),
                count=len(batch),
                progress=run.progress,
            )
            run.log(update)
        return policy


def with_reference(parts: Parts, policy: LanguageModel, data: PairBatch) -> PairBatch:
    """The pairs with the summed log-probabilities that `policy` gives them now; charged as two forward passes."""
    sides = [
        forward.by_micro_batch(
            policy.model, lambda rows: forward.sequence_logprobs(policy.model, rows), side, parts.token_budget
        )
        for side in (data.chosen, data.rejected)
    ]
    parts.run.meter.forward(policy.size, data.tokens)
    return replace(data, reference_chosen=sides[0], reference_rejected=sides[1])


def pair_terms(policy: LanguageModel, pairs: PairBatch, loss: PreferenceLoss, beta: float) -> Terms:
    """The loss's terms [B]; logs both log-probabilities, the margin, the accuracy, and how far the chosen one fell."""
    assert pairs.reference_chosen is not None and pairs.reference_rejected is not None
    chosen_logprobs = forward.sequence_logprobs(policy.model, pairs.chosen)
    rejected_logprobs = forward.sequence_logprobs(policy.model, pairs.rejected)
    chosen = chosen_logprobs - pairs.reference_chosen
    rejected = rejected_logprobs - pairs.reference_rejected
    stats = {
        "chosen_logprob": chosen_logprobs,
        "rejected_logprob": rejected_logprobs,
        "chosen_fall": -chosen,
        "margin": beta * (chosen - rejected),
        "accuracy": (chosen > rejected).float(),
    }
    return Terms(loss(chosen, rejected, beta=beta), None, stats)
