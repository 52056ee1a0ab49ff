"""How many records a testbed holds, split by split."""

from __future__ import annotations

from preflab.errors import UserError
from preflab.testbeds.base import Testbed
from preflab.types import Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KINDS = ("prompts", "demonstrations", "preferences")


def count_records(testbed: Testbed) -> dict[Split, list[int | None]]:
    """For each split the number of records of each of `KINDS`; None where the testbed has none of a kind there."""
    return {split: [_count(testbed, kind, split) for kind in KINDS] for split in SPLITS}


def _count(testbed: Testbed, kind: str, split: Split) -> int | None:
    try:
        return len(getattr(testbed, kind)(split))
    except UserError:
        return None
