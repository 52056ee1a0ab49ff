"""Defines the records of what a study declares before it runs (claims, results of the paper, a sweep), and of tuning
trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from preflab.analysis.record.base import Interval, Number, Record
from preflab.errors import UserError, refuse_unknown
from preflab.evaluation.settings import DecodingChoice

ClaimRule = Literal["superior", "not-superior"]
DEPENDS = "depends on the decoding"
"""The joint outcome of a claim that is confirmed at one decoding and refuted at another."""
ClaimOutcome = Literal["confirmed", "refuted", "not decided", "not testable here", "not measured"]


class Claim(Record):
    """One hypothesis, declared before the study runs: a contrast of arms, a margin and a rule.

    The contrast {a: 1, b: -1} is a difference, {a: 1, b: -1, c: -1, d: 1} is a difference of differences, and {small: -1,
    middle: 0, large: 1} is a trend.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    id: str
    """The claim's number, e.g. 'C6'."""
    part: str = ""
    """The name of this part, if the claim has several parts that must all be true; '' if the claim has one part."""
    text: str
    """The claim in words."""
    contrast: dict[str, float]
    """The weight of each arm. The weights sum to 0."""
    margin: float = Field(gt=0)
    """The smallest value of the contrast that matters in practice, in units of the claim's measure."""
    measure: str = ""
    """The name of the measure that the claim is about; '' for the headline metric."""
    control: dict[str, float] = {}
    """A contrast that is known to be a gain, with weights like those of `contrast`; empty for none. If the whole
    interval of the control is above the margin, the study can show a gain as large as the margin. Only then may an
    outcome say that no gain reaches the margin."""
    rule: ClaimRule = "superior"
    """The claim's statement. 'superior': the contrast is above 0. 'not-superior': the contrast is below the margin."""
    paper: str = ""
    """The paper's numbers for this claim, measured on other models."""

    @property
    def name(self) -> str:
        return f"{self.id} ({self.part})" if self.part else self.id

    def among(self, arms: Iterable[str]) -> Claim:
        """Returns the claim unchanged if all arms of its control are among `arms`; otherwise returns it without its
        control."""
        return self if set(self.control) <= set(arms) else self.model_copy(update={"control": {}})

    @model_validator(mode="after")
    def _has_contrasts(self) -> Self:
        check_contrast(self.contrast, self.name)
        if self.control:
            check_contrast(self.control, f"the control of {self.name}")
            if _direction(self.control) in (_direction(self.contrast), _direction(self.contrast, -1)):
                raise UserError(
                    f"`claims`: the control of {self.name} is the claim itself, or its negation. Name another contrast that "
                    "is known to help."
                )
        return self


def check_contrast(weights: Mapping[str, float], name: str) -> None:
    """Raises `UserError` if the weights do not form a contrast: at least two weights that are not 0, with sum 0."""
    if sum(weight != 0 for weight in weights.values()) < 2:
        raise UserError(f"`claims`: {name} gives a weight to fewer than two arms. A contrast needs at least two arms.")
    total = sum(weights.values())
    if abs(total) > 1e-9:
        raise UserError(f"`claims`: the weights of {name} sum to {total:g}. The weights of a contrast must sum to 0.")


def _direction(weights: Mapping[str, float], sign: int = 1) -> dict[str, float]:
    """Returns the weights that are not 0, divided by the largest absolute weight and multiplied by `sign`."""
    largest = max(map(abs, weights.values()))
    return {arm: round(sign * weight / largest, 9) for arm, weight in weights.items() if weight}


class DecidedClaim(Record):
    """A claim and its outcome in this study at one decoding. A study that decides at two decodings has two such
    records for each claim."""

    claim: Claim
    """The claim that was tested."""
    decoding: DecodingChoice = "chosen"
    """The decoding of the answers whose scores decide the claim."""
    outcome: ClaimOutcome
    """The outcome of the claim's rule for the interval. 'not testable here' if the rule says that no gain reaches the
    margin, but the control does not show that the study could see such a gain. 'not measured' if no seed has finished
    runs of all the claim's arms."""
    value: Interval = Interval()
    """The contrast with its interval. The intervals of all claims are simultaneous."""
    control: Interval | None = None
    """The control's contrast with its interval; None if the claim has no control, or if no seed has finished runs of all its
    arms. The intervals of all controls are simultaneous."""
    reason: str = ""
    """The reason why the claim was not decided, not testable or not measured; '' if the interval is the reason."""


def joint_outcome(outcomes: Sequence[ClaimOutcome]) -> str:
    """Returns the joint outcome of a claim at all decodings. If all outcomes are the same, returns this outcome. If the
    claim is confirmed at one decoding and refuted at another, returns `DEPENDS`. Otherwise returns ''."""
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return DEPENDS if {"confirmed", "refuted"} <= set(outcomes) else ""


class PaperTable(Record):
    """Results from the paper, measured on other models and data. The numbers give context and are not directly
    comparable with the study's numbers."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    title: str
    """The table's number or title in the paper."""
    columns: tuple[str, ...] = Field(min_length=1)
    """The column headings. The first column contains the names of the rows."""
    rows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """The cells as printed in the paper; '' for an empty cell."""
    note: str = ""
    """A note for readers of the table."""

    @model_validator(mode="after")
    def _rows_are_complete(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise UserError(
                    f"`paper.rows`: {list(row)} has {len(row)} cells for {len(self.columns)} columns. Write '' for an "
                    "empty cell."
                )
        return self


class Sweep(Record):
    """A factor that the study varies, and the arms that have its values."""

    model_config = ConfigDict(allow_inf_nan=False)
    label: str
    """The factor's name."""
    x: tuple[float, ...] = Field(min_length=2)
    """The values of the factor, in the order of the x axis."""
    log: bool = False
    """True if the factor has a logarithmic axis."""
    series: dict[str, tuple[str | None, ...]] = Field(min_length=1)
    """The lines of the figure by name. Each line has one arm for each value of the factor, or null for a value without
    an arm."""

    @model_validator(mode="after")
    def _lines_are_complete(self) -> Self:
        for name, arms in self.series.items():
            if len(arms) != len(self.x):
                raise UserError(
                    f"`sweep.series.{name}` has {len(arms)} arms for {len(self.x)} values of `x`. Write null for a "
                    "value without an arm."
                )
        if self.log and min(self.x) <= 0:
            raise UserError(f"`sweep.x` holds {min(self.x):g}. A logarithmic axis needs values above 0.")
        return self

    def among(self, arms: Iterable[str]) -> Sweep | None:
        """Returns a copy of the sweep with only these arms; None if the sweep has none of these arms."""
        known = set(arms)
        series = {name: tuple(arm if arm in known else None for arm in line) for name, line in self.series.items()}
        kept = {name: line for name, line in series.items() if any(line)}
        return self.model_copy(update={"series": kept}) if kept else None


class TuningTrial(Record):
    """One combination of settings that the tuning stage tried."""

    arm: str
    """Name of the arm."""
    settings: dict[str, JsonValue]
    """The tuned fields and their values in this trial."""
    seed: int
    """The tuning seed, which is not one of the study's seeds."""
    score: Number = None
    """Validation score; None if the trial diverged."""
    chosen: bool = False
    """True if the study uses these settings."""
    behind: Number = None
    """How far the mean score of these settings is below that of the chosen settings; None for the chosen settings,
    or if it was not measured."""
    behind_error: Number = None
    """Standard error of `behind` over the validation problems. The trials are paired on these problems. The error does
    not include the variation between training seeds."""


def check_arms(claims: Iterable[Claim], sweep: Sweep | None, arms: Iterable[str]) -> None:
    """Raises `UserError` if a claim or the sweep names an unknown arm (the message gives the nearest known name), or if
    two claims have the same name."""
    known, names = set(arms), set[str]()
    for claim in claims:
        if claim.name in names:
            raise UserError(f"`claims`: {claim.name} occurs twice. Give its parts different names.")
        names.add(claim.name)
        refuse_unknown({**claim.contrast, **claim.control}, known, f"`claims`: {claim.name} names the arm")
    for name, line in sweep.series.items() if sweep else ():
        refuse_unknown((arm for arm in line if arm is not None), known, f"`sweep.series.{name}` names the arm")
