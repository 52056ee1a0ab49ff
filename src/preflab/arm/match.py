"""A match compares the answers of two finished arms of one seed by a pairwise evaluator. In a study, a match is a run of
its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from preflab.evaluation import PAIRWISE_EVALUATORS
from preflab.spec import Spec, variant
from preflab.testbeds import TESTBEDS

PAIRWISE = "pairwise"
"""The folder of a seed's matches. Each match has the directory `pairwise/NAME/FIRST-vs-SECOND`."""


class Match(Spec):
    """The run file of a match between the arms `first` and `second` of the same seed."""

    kind: Literal["match"] = "match"
    name: str
    first: str
    second: str
    evaluator: Annotated[Any, *variant(PAIRWISE_EVALUATORS)]
    testbed: Annotated[Any, *variant(TESTBEDS)]
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    device: str = "auto"


def match_directory(seed_directory: Path, name: str, first: str, second: str) -> Path:
    return seed_directory / PAIRWISE / name / f"{first}-vs-{second}"
