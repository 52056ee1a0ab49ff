"""One run of a study: what it does, its directory, and the runs that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preflab.arm.match import Match
from preflab.arm.spec import Arm, stages_needed
from preflab.train.directory import RESULT


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run of a study: an arm or a match. `spec`: the content of the run file. `needs`: the directories of the runs that
    this run builds on, directly or not. `waits`: the directories of the stages that its evaluators need."""

    spec: Arm | Match
    directory: Path
    needs: tuple[Path, ...]
    waits: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def seed(self) -> int:
        return self.spec.seed

    @property
    def is_stage(self) -> bool:
        return False

    @property
    def products(self) -> set[Path]:
        """The directories of the stages whose products this run opens."""
        return set(self.waits)

    @property
    def result_file(self) -> Path:
        return self.directory / RESULT

    @property
    def label(self) -> str:
        return f"{self.name} (seed {self.seed})"


@dataclass(frozen=True, kw_only=True)
class PlannedMatch(Planned):
    """A match and its directory."""

    spec: Match


@dataclass(frozen=True, kw_only=True)
class PlannedRun(Planned):
    """An arm and its directory. The budget's `charged` is not set yet, since it is known only once the arm's stages are
    done.

    The cost of the runs in `needs` is charged to the arm; the cost of the runs in `waits` is not.
    """

    spec: Arm

    @property
    def is_stage(self) -> bool:
        return self.spec.measure == "none"

    @property
    def products(self) -> set[Path]:
        direct = stages_needed(self.spec)
        return {need for need in self.needs if need.name in direct} | set(self.waits)
