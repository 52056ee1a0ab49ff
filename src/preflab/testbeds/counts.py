"""How many records a testbed holds, split by split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from preflab.errors import UserError
from preflab.testbeds.base import SPLITS, Testbed
from preflab.types import Split

RECORD_KINDS = ("prompts", "demonstrations", "preferences")


def count_records(testbed: Testbed) -> dict[Split, list[int | None]]:
    """For each split the number of records of each of `RECORD_KINDS`; None where the testbed has none of a kind there."""
    readers = (testbed.prompts, testbed.demonstrations, testbed.preferences)
    return {split: [count_rows(read, split) for read in readers] for split in SPLITS}


def count_rows(read: Callable[[Split], Sequence[object]], split: Split) -> int | None:
    """How many records a testbed's method reads of a split; None where the testbed has none of its kind there."""
    try:
        return len(read(split))
    except UserError:
        return None
