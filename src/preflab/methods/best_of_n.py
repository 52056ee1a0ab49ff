"""Best-of-n: at test time, draws n answers y_1..y_n to each prompt and submits argmax_i s(y_i). Nothing is trained.

The selector s is not the evaluator. The KL of the submitted answers from the policy is at most log n - (n-1)/n (Beirami et
al. 2024).
"""

from __future__ import annotations

from typing import Literal

from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.models.lm import LanguageModel
from preflab.sampling.inference import Inference


class BestOfN(Method):
    """`selector`: what scores the samples. `public-tests` counts the public tests of the statement that a sample passes
    (only those before the first failure, unless the testbed has `every: true`). `reward` is the run's reward (a reward
    model). Each submitted answer costs n samples."""

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
