"""The records of claims, the paper's figures and a sweep, which a study declares before it runs, and of a tuning trial."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from preflab.analysis.record.base import Interval, Number, Record
from preflab.errors import UserError, refuse_unknown

ClaimRule = Literal["superior", "not-superior"]
ClaimOutcome = Literal["confirmed", "refuted", "not decided", "not measured"]


class Claim(Record):
    """One hypothesis, written down before the study runs: a contrast of arms, a margin and a rule.

    The contrast {a: 1, b: -1} is a difference, {a: 1, b: -1, c: -1, d: 1} is a difference of differences, and {small: -1,
    middle: 0, large: 1} is a trend.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    id: str
    """The claim's number, e.g. 'C6'."""
    part: str = ""
    """The name of the part, if the claim is one part of a conjunction; '' if it is the whole claim."""
    text: str
    """What is claimed, in words."""
    contrast: dict[str, float]
    """The weight of each arm. The weights sum to 0."""
    margin: float = Field(gt=0)
    """The smallest value of the contrast that is worth having, in units of the headline metric."""
    rule: ClaimRule = "superior"
    """superior: the contrast is above 0. not-superior: the contrast is below the margin."""
    paper: str = ""
    """The paper's figures for this claim, measured on other models."""

    @property
    def name(self) -> str:
        return f"{self.id} ({self.part})" if self.part else self.id

    @model_validator(mode="after")
    def _is_a_contrast(self) -> Self:
        if sum(weight != 0 for weight in self.contrast.values()) < 2:
            raise UserError(f"`claims`: {self.name} weighs fewer than two arms: there is nothing to contrast.")
        total = sum(self.contrast.values())
        if abs(total) > 1e-9:
            raise UserError(f"`claims`: the weights of {self.name} sum to {total:g}, not to 0: it is not a contrast.")
        return self


class DecidedClaim(Record):
    """A claim and its outcome in this study."""

    claim: Claim
    """What was claimed."""
    outcome: ClaimOutcome
    """What the interval says by the claim's rule. 'not measured' if no seed has finished runs of all the claim's arms."""
    value: Interval = Interval()
    """The contrast with its interval. The intervals of all claims hold at once."""
    reason: str = ""
    """Why the claim was not decided or not measured, if the interval is not the reason."""


class PaperTable(Record):
    """Figures from the paper, measured on other models and data. They are to be read beside the study's figures, not to be
    compared with them number by number."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    title: str
    """Which table of the paper it is."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Heads of the columns. The first column holds the names of the rows."""
    rows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """Cells as the paper prints them; '' for an empty cell."""
    note: str = ""
    """What to know when reading the table."""

    @model_validator(mode="after")
    def _rows_are_complete(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise UserError(
                    f"`paper.rows`: {list(row)} has {len(row)} cells for {len(self.columns)} columns; write '' for none."
                )
        return self


class Sweep(Record):
    """A factor that the study varies, and the arms that have its values."""

    model_config = ConfigDict(allow_inf_nan=False)
    label: str
    """The factor's name."""
    x: tuple[float, ...] = Field(min_length=2)
    """The values of the factor."""
    log: bool = False
    """Whether the factor is drawn on a logarithmic axis."""
    series: dict[str, tuple[str | None, ...]] = Field(min_length=1)
    """For each line, one arm per value of the factor; null for a value that has no arm."""

    @model_validator(mode="after")
    def _lines_are_complete(self) -> Self:
        for name, arms in self.series.items():
            if len(arms) != len(self.x):
                raise UserError(
                    f"`sweep.series.{name}` has {len(arms)} arms for {len(self.x)} values of x; write null for none."
                )
        if self.log and min(self.x) <= 0:
            raise UserError(f"`sweep.x` holds {min(self.x):g}: a logarithmic axis needs values above 0.")
        return self

    def among(self, arms: Iterable[str]) -> Sweep | None:
        """Returns the sweep over these arms alone; None if the sweep holds none of these arms."""
        known = set(arms)
        series = {name: tuple(arm if arm in known else None for arm in line) for name, line in self.series.items()}
        kept = {name: line for name, line in series.items() if any(line)}
        return self.model_copy(update={"series": kept}) if kept else None


class TuningTrial(Record):
    """One setting that was tried in the tuning stage."""

    arm: str
    """Name of the arm."""
    settings: dict[str, JsonValue]
    """The tuned fields and their values in this trial."""
    seed: int
    """The tuning seed, which is not one of the study's seeds."""
    score: Number = None
    """Validation score; None if the trial diverged."""
    chosen: bool = False
    """Whether the study uses these settings."""


def check_arms(claims: Iterable[Claim], sweep: Sweep | None, arms: Iterable[str]) -> None:
    """Raises `UserError` if a claim or the sweep names an arm that the study does not have (the error gives the nearest
    right name), or if two claims have the same name."""
    known, names = set(arms), set[str]()
    for claim in claims:
        if claim.name in names:
            raise UserError(f"`claims`: {claim.name} is there twice; give its parts different names.")
        names.add(claim.name)
        refuse_unknown(claim.contrast, known, f"`claims`: {claim.name} names the arm")
    for name, line in sweep.series.items() if sweep else ():
        refuse_unknown((arm for arm in line if arm is not None), known, f"`sweep.series.{name}` names the arm")
