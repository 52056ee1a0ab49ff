"""The settings by which a policy answers prompts at test time."""

from __future__ import annotations

from typing import Literal

from preflab.spec import Spec


class Inference(Spec):
    """`n`: the number of samples of each prompt; if it is more than 1, the policy answers with the best of them.
    `selector`: what decides which sample is best, the public tests or a reward; the evaluator is never used for
    this."""

    n: int = 1
    selector: Literal["public-tests", "reward"] = "public-tests"
