"""Supervised fine-tuning on demonstrations; the loss covers only the completion tokens.

L = -E_t log pi(y_t | x, y_<t), averaged over all completion tokens of a batch.
"""

from __future__ import annotations

from typing import Literal

from preflab.batch import TokenBatch, collate_demonstrations
from preflab.encoded import EncodedRows
from preflab.fields import Count, CountOrAll
from preflab.losses.policy import sft_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Demonstration


class SFT(Method):
    """Xu et al. 2024 give no settings for SFT. `source`: the answers to train on. "demonstrations" means the testbed's
    demonstrations. "chosen" means the chosen answers of the run's pairs, as in Section 4.3 of that paper, where
    training starts with SFT on the preference data. `examples`: the number of answers to train on (0: all). The run's
    seed determines which answers are used. If the run has a compute budget, `epochs` is ignored."""

    kind: Literal["sft"] = "sft"
    source: Literal["demonstrations", "chosen"] = "demonstrations"
    examples: CountOrAll = 0
    epochs: Count = 3
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=1e-5)

    @property
    def learns_from(self) -> Records:
        return "demonstrations" if self.source == "demonstrations" else "preferences"

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        # 1. Take the answers. Each answer is encoded when it is first selected.
        rows = self.answers(parts)
        data = EncodedRows(rows, collate_demonstrations, policy.encode, limit=self.max_completion_tokens)
        learner = parts.learner(policy.model, self.optim)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            # 2. Select the rows of this step; every epoch shuffles the rows again.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            # 3. Make one update.
            count = float(batch.completion_lengths.sum())
            run.record.log(
                learner.step(batch, lambda rows: nll(policy, rows), count=count, progress=run.progress_of_update())
            )
        return policy

    def answers(self, parts: Parts) -> list[Demonstration]:
        """Returns the answers to imitate. A chosen answer costs one label, because only the label of its pair shows
        which answer is the chosen answer."""
        if self.source == "demonstrations":
            return parts.run.seeds.draw(parts.testbed.demonstrations("train"), self.examples, "demonstrations")
        pairs = parts.buy(parts.preferences(), self.examples)
        return [Demonstration(pair.prompt, pair.chosen) for pair in pairs]

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on each answer in each epoch."""
        if self.source == "demonstrations":
            return Cost(trained=self.epochs * (self.examples or size.demonstrations))
        pairs = self.examples or size.pairs
        return Cost(trained=self.epochs * pairs, labels=pairs)


def nll(policy: LanguageModel, batch: TokenBatch) -> Terms:
    """Returns the negative log-likelihood of each completion token: [B,T]."""
    logprobs = forward.token_logprobs(policy.model, batch).logprobs
    return Terms(sft_loss(logprobs), batch.mask, {})
