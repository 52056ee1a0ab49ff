"""RRHF: an answer with a higher score should be likelier per token, and the best answer is imitated (Yuan et al. 2023).

L = sum_{r_i < r_j} max(0, p_i - p_j) - p_best; p is the log-probability per token (see `losses.ranking`).
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
    """Yuan et al. 2023: learning rate 2e-5, 3 epochs, batches of 64 prompts, a linear schedule to 0 after 3% of warm-up, SFT
    weight 1.

    `rankings`: the number of rankings to train on, drawn by the seed (0: all). `batch_size` counts prompts. A labels budget
    caps the rankings: a ranking of K answers costs K - 1 labels, one for each comparison that orders the answers. A compute
    budget overrides `epochs`."""

    kind: Literal["rrhf"] = "rrhf"
    rankings: CountOrAll = 0
    epochs: Count = 3
    batch_size: Count = 64
    max_completion_tokens: Count = 1024
    optim: Optim = Optim(learning_rate=2e-5, schedule="linear", warmup=0.03)
    sft_coefficient: float = Field(default=1.0, ge=0)

    def loss(self, ranked: RankedLogprobs) -> Tensor:
        """The loss's terms [B]."""
        return rrhf_loss(ranked, sft_coefficient=self.sft_coefficient)

    @property
    def learns_from(self) -> Records:
        return "rankings"

    def train(self, parts: Parts) -> LanguageModel:
        return imitate_rankings(self, parts)

    def cost(self, size: DataSize) -> Cost:
        """Every answer of each ranking is trained on in each epoch."""
        return Cost(trained=size.answers * self.epochs * (self.rankings or size.pairs))
