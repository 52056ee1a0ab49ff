"""Learning from K ranked answers to a prompt: RRHF and PRO, which differ in their loss alone.

RRHF: sum_{r_i < r_j} max(0, p_i - p_j) - p_best. PRO: each answer against all that are worse, at temperatures that the
gaps of their scores set, - beta log pi(best). p is the log-probability a token (see `losses.ranking`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from pydantic import Field
from torch import Tensor

from preflab.batch import RankedBatch, collate_rankings
from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.ranking import RankedLogprobs, pro_loss, rrhf_loss
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize, passes_over
from preflab.models import forward
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim, Terms
from preflab.types import Ranking


def comparisons(ranking: Ranking) -> int:
    """The labels that a ranking costs: K answers are ordered by K - 1 comparisons."""
    return len(ranking.completions) - 1


class RankLoss(Method):
    """`rankings`: how many, drawn by the seed (0: all). Under a compute budget `epochs` gives way to it. `batch_size` counts
    prompts. A labels budget caps the rankings: K answers cost the K - 1 comparisons that order them."""

    rankings: CountOrAll = 0
    epochs: Count = 2
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim()

    @abstractmethod
    def objective(self, ranked: RankedLogprobs) -> Tensor:
        """The loss's terms [B]."""

    def train(self, parts: Parts) -> LanguageModel:
        run, policy = parts.run, parts.policy
        # 1. Every ranking's answers as ids, with their scores.
        rankings = parts.buy(parts.rankings(), self.rankings, price=comparisons)
        data = collate_rankings(rankings, policy.encode, limit=self.max_completion_tokens)
        learner = parts.learner(policy.model, self.optim)
        total = self.epochs * -(-len(data) // self.batch_size)
        for step in run.steps(total, {"policy": learner}, policy=policy, validate=parts.validate):
            # 2. One update on the step's prompts, each with all its answers.
            batch = data.select(run.seeds.take_batch(step, len(data), self.batch_size))
            run.record.log(
                learner.step(batch, lambda rows: self.terms(policy, rows), count=len(batch), progress=run.progress)
            )
        return policy

    def terms(self, policy: LanguageModel, batch: RankedBatch) -> Terms:
        """The loss's terms [B]; logs the best answer's log-probability a token, and the share of the contrasts of unequal
        score that the policy orders as the scores do."""
        answers = batch.candidates
        ranked = RankedLogprobs(
            sums=batch.table(forward.sequence_logprobs(policy.model, answers)),
            lengths=batch.table(answers.completion_lengths),
            scores=batch.table(batch.scores),
            mask=batch.mask,
        )
        p, unequal = ranked.means, ranked.gaps > 0
        right = ((p[:, :, None] > p[:, None, :]) & unequal).sum(dim=(1, 2)) / unequal.sum(dim=(1, 2)).clamp(min=1)
        return Terms(self.objective(ranked), None, {"accuracy": right, "best_logprob": ranked.of_best(p)})

    def cost(self, size: DataSize) -> Cost:
        """Every answer of each ranking, in each epoch."""
        return Cost(trained=size.answers * passes_over(size.pairs, self.rankings, self.epochs))


class RRHF(RankLoss):
    """Yuan et al. 2023: learning rate 2e-5, 3 epochs, batches of 64 prompts, linear to 0 after 3% of warm-up, SFT weight 1."""

    kind: Literal["rrhf"] = "rrhf"
    epochs: Count = 3
    sft_coefficient: float = Field(default=1.0, ge=0)
    optim: Optim = Optim(learning_rate=2e-5, schedule="linear", warmup=0.03)

    def objective(self, ranked: RankedLogprobs) -> Tensor:
        return rrhf_loss(ranked, sft_coefficient=self.sft_coefficient)


class PRO(RankLoss):
    """Song et al. 2024: learning rate 5e-6, 2 epochs, batches of 112 prompts, SFT weight .05 (K - 1)^2. `score_scale`
    multiplies the scores, whose gaps are one over the contrast's temperatures."""

    kind: Literal["pro"] = "pro"
    batch_size: Count = 112
    score_scale: Positive = 1.0
    sft_coefficient: float = Field(default=0.05, ge=0)
    optim: Optim = Optim(learning_rate=5e-6)

    def objective(self, ranked: RankedLogprobs) -> Tensor:
        return pro_loss(ranked, scale=self.score_scale, sft_coefficient=self.sft_coefficient)
