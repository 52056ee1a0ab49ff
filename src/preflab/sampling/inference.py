"""How a policy answers at test time."""

from __future__ import annotations

from typing import Literal

from preflab.spec import Spec


class Inference(Spec):
    """Answers with one sample, or with the best of `n` samples by a selector that is not the evaluator: the public tests or
    a reward."""

    n: int = 1
    selector: Literal["public-tests", "reward"] = "public-tests"
