"""PRO contrasts each answer with all worse answers, and imitates the best answer (Song et al. 2024).

The loss has a contrast term and an SFT term. The contrast term is -log of a softmax over the answers' mean
log-probabilities per token. The differences between the scores set the temperatures of the softmax (see
`losses.ranking`). The SFT term is -beta log pi(best answer).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from preflab.fields import Count, CountOrAll, Positive
from preflab.losses.ranking import RankedLogprobs, pro_loss
from preflab.methods.base import Method, Parts, Records
from preflab.methods.cost import Cost, DataSize
from preflab.methods.shared.rankings import imitate_rankings
from preflab.models.lm import LanguageModel
from preflab.train.learner import Optim


class PRO(Method):
    """Song et al. 2024 use learning rate 5e-6, 2 epochs, batches of 112 prompts and, for K answers, the SFT weight .05
    (K - 1)^2. `score_scale` multiplies the scores. Each temperature of the softmax is the inverse of a difference
    between two scores.

    `rankings`: the number of rankings to train on (0: all). The run's seed determines which rankings are used.
    `batch_size`: the number of prompts in a batch. A labels budget limits the number of rankings. A ranking of K
    answers costs K - 1 labels, one for each comparison that orders the answers. If the run has a compute budget,
    `epochs` is ignored."""

    kind: Literal["pro"] = "pro"
    rankings: CountOrAll = 0
    epochs: Count = 2
    batch_size: Count = 112
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=5e-6)
    score_scale: Positive = 1.0
    sft_coefficient: float = Field(default=0.05, ge=0)

    def loss(self, ranked: RankedLogprobs) -> Tensor:
        """Returns the unreduced loss of each prompt: [B]."""
        return pro_loss(ranked, scale=self.score_scale, sft_coefficient=self.sft_coefficient)

    @property
    def learns_from(self) -> Records:
        return "rankings"

    def train(self, parts: Parts) -> LanguageModel:
        return imitate_rankings(self, parts)

    def cost(self, size: DataSize) -> Cost:
        """Returns the cost of training on every answer of each ranking in each epoch."""
        rankings = self.rankings or size.pairs
        return Cost(trained=size.answers * self.epochs * rankings, labels=(size.answers - 1) * rankings)
