"""Defines how a policy answers prompts at test time."""

from __future__ import annotations

from typing import Literal

from preflab.spec import Spec


class Inference(Spec):
    """The settings of best-of-n. `n`: the number of samples of each prompt. If `n` is more than 1, the policy answers
    with the best sample. `selector`: whether the public tests or a reward selects the best sample. The evaluator never
    selects samples."""

    n: int = 1
    selector: Literal["public-tests", "reward"] = "public-tests"
