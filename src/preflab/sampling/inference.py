"""How a policy answers at test time."""

from __future__ import annotations

from typing import Literal

from preflab.spec import Spec


class Inference(Spec):
    """One sample, or the best of `n` by a selector other than the evaluator: the public tests or a reward."""

    n: int = 1
    selector: Literal["public-tests", "reward"] = "public-tests"
