"""One run of a study: its arm, where it writes, and what it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preflab.arm.spec import Arm


@dataclass(frozen=True)
class PlannedRun:
    """An arm (without the budget's `charged`, which is known once its stages are done) and its directory.

    `needs`: the runs that it stands on and that are charged to it. `waits`: the evaluators' runs, which are not charged.
    """

    name: str
    seed: int
    arm: Arm
    directory: Path
    needs: tuple[Path, ...]
    waits: tuple[Path, ...] = ()

    @property
    def is_stage(self) -> bool:
        return self.arm.measure == "none"

    @property
    def result_file(self) -> Path:
        return self.directory / RESULT

    @property
    def label(self) -> str:
        return f"{self.name} (seed {self.seed})"


RESULT = "result.json"
