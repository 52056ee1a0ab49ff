"""How an answer is made from a policy at test time."""

from __future__ import annotations

from typing import Literal

from preflab.spec import Spec


class Inference(Spec):
    """One sample, or the best of `n` by a selector that is not what evaluates: the public tests or a reward."""

    n: int = 1
    selector: Literal["public-tests", "reward"] = "public-tests"
