"""Defines the run file of a match. In a match, a pairwise evaluator compares the answers of two finished arms of the
same seed, or the answers of an arm with the chosen answers of the data.

In a study, each match is a separate run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from preflab.evaluation import PAIRWISE_EVALUATORS
from preflab.evaluation.pairwise import PairwiseEvaluatorSpec
from preflab.spec import Spec, variant
from preflab.testbeds import TESTBEDS
from preflab.testbeds.base import TestbedSpec

PAIRWISE = "pairwise"
"""The name of the folder for the matches of a seed. The directory of a match is `pairwise/NAME/FIRST-vs-SECOND`."""


class Match(Spec):
    """The run file of a match between the arms `first` and `second` of the same seed. Instead of an arm, `second` can
    be `data:chosen`, which means the chosen answers of the data."""

    kind: Literal["match"] = "match"
    name: str
    first: str
    second: str
    evaluator: Annotated[PairwiseEvaluatorSpec, *variant(PAIRWISE_EVALUATORS)]
    testbed: Annotated[TestbedSpec, *variant(TESTBEDS)]
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    device: str = "auto"


def match_directory(seed_directory: Path, name: str, first: str, second: str) -> Path:
    return seed_directory / PAIRWISE / name / f"{first}-vs-{second}"
