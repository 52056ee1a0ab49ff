"""Best-of-n draws n answers y_1..y_n to each prompt at test time and submits argmax_i s(y_i), without any training.

The selector s scores the answers. The evaluator, which measures the submitted answers, never selects answers. The KL
divergence of the submitted answers' distribution from the policy is at most log n - (n-1)/n (Beirami et al. 2024).
"""

from __future__ import annotations

from typing import Literal

from preflab.fields import Count
from preflab.methods.base import Method, Parts
from preflab.methods.cost import Cost, DataSize
from preflab.models.lm import LanguageModel
from preflab.sampling.inference import Inference


class BestOfN(Method):
    """The settings of best-of-n. `n`: the number of samples that are drawn for each submitted answer. `selector`: the
    scorer of the samples. With `public-tests`, the score is the number of the problem's public tests that a sample
    passes. The count ends at the first failed test; with the testbed setting `every: true`, the count covers all tests.
    With `reward`, the score comes from the run's reward."""

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
        """Returns a cost of 0, because the method does not train. The samples at test time are not included;
        `inference` returns their number."""
        return Cost()
