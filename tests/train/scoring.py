"""Rewards of the tests' own, found in the directory in which the runs start."""

from __future__ import annotations

import random
from collections.abc import Sequence

from preflab.types import Prompt


def length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Something that an untrained model differs in."""
    return [float(len(text)) for text in texts]


def dice(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Never the same twice, as an endpoint may be."""
    source = random.SystemRandom()
    return [source.random() for _ in texts]
