"""What a study declares before it runs and its report shows afterwards: claims, the paper's figures, a sweep, tuning trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from preflab.analysis.record.base import Interval, Number, Record
from preflab.errors import UserError, refuse_unknown

ClaimRule = Literal["superior", "not-superior"]
ClaimOutcome = Literal["confirmed", "refuted", "not decided", "not measured"]


class Claim(Record):
    """One hypothesis, written down before the study runs: a contrast of arms, a margin and a rule."""

    model_config = ConfigDict(allow_inf_nan=False)
    id: str
    """Its number, e.g. 'C6'."""
    part: str = ""
    """Which part of a conjunction it is; '' for the whole."""
    text: str
    """What is claimed, in words."""
    contrast: dict[str, float]
    """Arm to weight; the weights sum to 0. {a: 1, b: -1} is a difference, {a: 1, b: -1, c: -1, d: 1} a difference of
    differences, {small: -1, middle: 0, large: 1} a trend."""
    margin: float = Field(gt=0)
    """The smallest value of the contrast that is worth having, in units of the headline metric."""
    rule: ClaimRule = "superior"
    """superior: the contrast is above 0. not-superior: it is below the margin."""
    paper: str = ""
    """The paper's figures, on other models."""

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
    """What the interval says by the claim's rule; 'not measured' where an arm has no finished run."""
    value: Interval = Interval()
    """The contrast, with its interval; the intervals of all claims hold at once."""
    reason: str = ""
    """Why nothing was decided or measured, where the interval is not the reason."""


class PaperTable(Record):
    """Figures of the paper, on other models and data: to be read beside the study's, not compared number by number."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    title: str
    """Which table."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Heads of the columns, the first being that of the rows' names."""
    rows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """Cells as the paper prints them; '' for an empty cell."""
    note: str = ""
    """What to know when reading it."""

    @model_validator(mode="after")
    def _rows_are_complete(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise UserError(
                    f"`paper.rows`: {list(row)} has {len(row)} cells for {len(self.columns)} columns; write '' for none."
                )
        return self


class Sweep(Record):
    """A factor and the arms that vary it."""

    model_config = ConfigDict(allow_inf_nan=False)
    label: str
    """The factor's name."""
    x: tuple[float, ...] = Field(min_length=2)
    """Its values."""
    log: bool = False
    """It is drawn on a logarithmic axis."""
    series: dict[str, tuple[str | None, ...]] = Field(min_length=1)
    """For each line one arm per value of the factor; null where there is none."""

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
        """The sweep over these arms alone; None where it holds none of them."""
        known = set(arms)
        series = {name: tuple(arm if arm in known else None for arm in line) for name, line in self.series.items()}
        kept = {name: line for name, line in series.items() if any(line)}
        return self.model_copy(update={"series": kept}) if kept else None


class TuningTrial(Record):
    """One setting that was tried in the tuning stage."""

    arm: str
    """Name of the arm."""
    settings: dict[str, JsonValue]
    """The tuned fields."""
    seed: int
    """A tuning seed: not among the study's."""
    score: Number = None
    """Validation score; None when the trial diverged."""
    chosen: bool = False
    """The study uses these settings."""


def check_arms(claims: Iterable[Claim], sweep: Sweep | None, arms: Iterable[str]) -> None:
    """Raises `UserError`, with the nearest right name, for an arm that the study does not have or two claims of one name."""
    known, names = set(arms), set[str]()
    for claim in claims:
        if claim.name in names:
            raise UserError(f"`claims`: {claim.name} is there twice; give its parts different names.")
        names.add(claim.name)
        refuse_unknown(claim.contrast, known, f"`claims`: {claim.name} names the arm")
    for name, line in sweep.series.items() if sweep else ():
        refuse_unknown((arm for arm in line if arm is not None), known, f"`sweep.series.{name}` names the arm")
