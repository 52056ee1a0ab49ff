"""Describes one run of a study: its run file, its directory, and the runs that must finish before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from preflab.arm.match import Match
from preflab.arm.spec import Arm, stages_needed
from preflab.train.directory import RESULT


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run of a study: a stage, an arm or a match. `spec`: the content of the run file. `needs`: the directories of
    the runs whose output this run uses, directly or indirectly. `waits`: the directories of the stages that train the
    models of this run's evaluators. The run starts after all runs in `needs` and `waits`."""

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
        """The directories of the stages whose saved output this run reads."""
        return set(self.waits)

    @property
    def result_file(self) -> Path:
        return self.directory / RESULT

    @property
    def label(self) -> str:
        return f"{self.name} (seed {self.seed})"


@dataclass(frozen=True, kw_only=True)
class PlannedMatch(Planned):
    """A planned match between two arms."""

    spec: Match


@dataclass(frozen=True, kw_only=True)
class PlannedRun(Planned):
    """A planned stage or arm. The field `charged` of the run's budget is set when the run starts, because the cost of
    the needed stages is known only then.

    The cost of the runs in `needs` is charged to the arm. The cost of the runs in `waits` is not charged.
    """

    spec: Arm

    @property
    def is_stage(self) -> bool:
        return self.spec.measure == "none"

    @property
    def products(self) -> set[Path]:
        direct = stages_needed(self.spec)
        return {need for need in self.needs if need.name in direct} | set(self.waits)
