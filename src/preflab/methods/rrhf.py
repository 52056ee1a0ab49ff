"""RRHF makes answers with higher scores likelier per token, and imitates the best answer (Yuan et al. 2023).

L = sum_{r_i < r_j} max(0, p_i - p_j) - p_best, where r_i is the score of answer i, and p_i is the mean log-probability
per token of answer i (see `losses.ranking`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from preflab.fields import Count, CountOrAll
from preflab.losses.ranking import RankedLogprobs, rrhf_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.rankings import imitate_rankings
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim


class RRHF(Method):
    """Yuan et al. 2023 use learning rate 2e-5, 3 epochs, batches of 64 prompts, SFT weight 1, and a linear schedule to
    0 after a warm-up of 3% of the run.

    `rankings`: the number of rankings to train on (0: all). The run's seed determines which rankings are used.
    `batch_size`: the number of prompts in a batch. A labels budget limits the number of rankings. A ranking of K
    answers costs K - 1 labels, one for each comparison that orders the answers. If the run has a compute budget,
    `epochs` is ignored."""

    kind: Literal["rrhf"] = "rrhf"
    rankings: CountOrAll = 0
    epochs: Count = 3
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=2e-5, schedule="linear", warmup=0.03)
    sft_coefficient: float = Field(default=1.0, ge=0)

    def loss(self, ranked: RankedLogprobs) -> Tensor:
        """Returns the unreduced loss of each prompt: [B]."""
        return rrhf_loss(ranked, sft_coefficient=self.sft_coefficient)

    @property
    def learns_from(self) -> Records:
        return "rankings"

    def train(self, parts: Parts) -> LanguageModel:
        return imitate_rankings(self, parts)

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on every answer of each ranking in each epoch."""
        rankings = self.rankings or size.pairs
        return Cost(trained=size.answers * self.epochs * rankings, labels=(size.answers - 1) * rankings)
