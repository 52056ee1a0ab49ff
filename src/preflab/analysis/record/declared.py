"""What a study set out to test: its claims as they were decided, the paper's figures, and the factor of a sweep."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from preflab.analysis.record.base import Interval, Number, Record


class Weight(Record):
    """One arm of a contrast."""

    arm: str
    """Its name; an arm without a finished run may be named."""
    weight: Number
    """What its metric is multiplied with."""


class Claim(Record):
    """A hypothesis that was written down before the study ran, and what became of it here."""

    id: str
    """Its number, e.g. 'C6'."""
    part: str = ""
    """Which part of a conjunction it is; '' for the whole."""
    text: str
    """What is claimed, in words."""
    contrast: tuple[Weight, ...]
    """The weighted sum of the arms' headline metric is what was measured."""
    margin: Number
    """The smallest value of the contrast that is worth having, in the headline metric's units."""
    rule: Literal["superior", "not-superior"]
    """superior: the contrast is above 0. not-superior: it is below the margin."""
    value: Interval = Interval()
    """The contrast, with its interval; the intervals of all claims hold at once."""
    outcome: Literal["confirmed", "refuted", "not decided", "not measured"]
    """What the interval says by the rule; 'not measured' where an arm has no finished run."""
    reason: str = ""
    """Why nothing was decided or measured, where it is not the interval."""
    seeds: int = 0
    """Seeds that all its arms have."""
    diverged: int = 0
    """Runs among them that diverged: outcomes, counted and not dropped."""
    preliminary: bool = False
    """Fewer than five seeds."""
    paper: str = ""
    """The paper's figures, on other models."""

    @property
    def arms(self) -> list[str]:
        return [part.arm for part in self.contrast]


class PaperTable(Record):
    """Figures of the paper, on other models and data: to be read beside the study's, not compared number by number."""

    title: str
    """Which table."""
    columns: tuple[str, ...]
    """Heads of the columns, the first being that of the rows' names."""
    rows: tuple[tuple[str, ...], ...]
    """Cells as the paper prints them; '' where it has none."""
    note: str = ""
    """What to know when reading it."""


class Line(Record):
    """One line of a sweep."""

    name: str
    """What it is called."""
    arms: tuple[str | None, ...]
    """One arm for each value of the factor; None where there is none."""


class Sweep(Record):
    """The factor that a study varies, and the arms that vary it."""

    label: str
    """What the factor is called."""
    x: tuple[float, ...] = Field(min_length=1)
    """Its values."""
    log: bool = False
    """Drawn on a logarithmic axis."""
    lines: tuple[Line, ...]
    """The arms, line by line."""
