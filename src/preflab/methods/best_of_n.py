"""Best-of-n: draws n samples y_1..y_n of each prompt at test time and submits argmax_i s(y_i). Nothing is trained.

The selector s is not the evaluator. The KL from the policy is at most log n - (n-1)/n (Beirami et al. 2024).
"""

from __future__ import annotations

from typing import Literal

from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.models.lm import LanguageModel
from preflab.sampling.inference import Inference


class BestOfN(Method):
    """`selector`: the statement's public tests (how many are passed; before the first failure, unless the testbed has
    `every: true`), or the run's reward (a reward model). Each answer costs n samples."""

    kind: Literal["best-of-n"] = "best-of-n"
    n: Count = 4
    selector: Literal["public-tests", "reward"] = "public-tests"

    def inference(self) -> Inference:
        return Inference(n=self.n, selector=self.selector)

    def train(self, parts: Parts) -> LanguageModel:
        if self.selector == "reward":
            parts.needed_reward()
        return parts.policy

    def cost(self, size: DataSize) -> Cost:
        """Nothing is trained. `inference` says how many samples each answer takes."""
        return Cost()
