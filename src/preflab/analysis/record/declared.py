"""Defines the records of what a study file declares before the study runs: the claims, the results of a published paper,
and a sweep. Also defines the record of a tuning trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, model_validator

from preflab.analysis.record.base import Interval, Number, Record
from preflab.errors import UserError, refuse_unknown
from preflab.evaluation.settings import DecodingChoice

ClaimRule = Literal["superior", "not-superior"]
DEPENDS = "depends on the decoding"
"""The joint outcome of a claim that is confirmed with one decoding setting (such as greedy) and refuted with another (such
as sampling at temperature 1)."""
ClaimOutcome = Literal["confirmed", "refuted", "not decided", "not testable here", "not measured"]


class Claim(Record):
    """A hypothesis about a contrast, declared before the study runs. A contrast is a weighted sum of arms' mean scores.

    The weights {a: 1, b: -1} give a difference, {a: 1, b: -1, c: -1, d: 1} give a difference of differences, and {small:
    -1, middle: 0, large: 1} give a trend.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    id: str
    """The claim's number, e.g. 'C6'."""
    part: str = ""
    """The name of this part, if the claim consists of several parts that must all be true; '' if the claim has only one
    part."""
    text: str
    """The claim in words."""
    contrast: dict[str, float]
    """The weight of each arm in the contrast. The weights sum to 0."""
    margin: float = Field(gt=0)
    """The smallest value of the contrast that matters in practice, in units of the claim's measure."""
    measure: str = ""
    """The name of the measure whose values the claim compares; '' for the headline metric."""
    control: dict[str, float] = {}
    """The weights of the claim's control contrast, which is known to be positive; {} for no control contrast. If the
    whole interval of the control contrast is above the margin, the study can detect a gain as large as the margin. The
    outcome of the claim can exclude such a gain only in this case."""
    rule: ClaimRule = "superior"
    """The statement to be tested. 'superior': the contrast is above 0. 'not-superior': the contrast is below the
    margin."""
    paper: str = ""
    """The numbers that a published paper gives for this claim. They were measured on other models."""

    @property
    def name(self) -> str:
        return f"{self.id} ({self.part})" if self.part else self.id

    def among(self, arms: Iterable[str]) -> Claim:
        """Returns the claim. If an arm of the control contrast is not in `arms`, returns a copy of the claim without a
        control contrast."""
        return self if set(self.control) <= set(arms) else self.model_copy(update={"control": {}})

    @model_validator(mode="after")
    def _has_contrasts(self) -> Self:
        check_contrast(self.contrast, self.name)
        if self.control:
            check_contrast(self.control, f"the control of {self.name}")
            if _direction(self.control) in (_direction(self.contrast), _direction(self.contrast, -1)):
                raise UserError(
                    f"`claims`: the control of {self.name} is the claim's own contrast, or its negation. Name another "
                    "contrast that is known to be a gain."
                )
        return self


def check_contrast(weights: Mapping[str, float], name: str) -> None:
    """Raises `UserError` if the weights do not form a contrast. A contrast has at least two nonzero weights, and the sum
    of its weights is 0."""
    if sum(weight != 0 for weight in weights.values()) < 2:
        raise UserError(f"`claims`: {name} gives a weight to fewer than two arms. A contrast needs at least two arms.")
    total = sum(weights.values())
    if abs(total) > 1e-9:
        raise UserError(f"`claims`: the weights of {name} sum to {total:g}. The weights of a contrast must sum to 0.")


def _direction(weights: Mapping[str, float], sign: int = 1) -> dict[str, float]:
    """Returns the nonzero weights, divided by the largest absolute weight and multiplied by `sign`. Two contrasts that
    differ only in scale give equal results."""
    largest = max(map(abs, weights.values()))
    return {arm: round(sign * weight / largest, 9) for arm, weight in weights.items() if weight}


class DecidedClaim(Record):
    """A claim and its outcome for one decoding setting of the study. A study with two decoding settings (such as greedy,
    and sampling at temperature 1) has two records for each claim."""

    claim: Claim
    """The claim that was tested."""
    decoding: DecodingChoice = "chosen"
    """The sampling temperature of the answers that decide the claim: 'chosen' or 'unit' (temperature 1)."""
    outcome: ClaimOutcome
    """The outcome of the claim, decided by the interval in `value`. 'not testable here': the interval excludes a gain as
    large as the margin, but the control contrast does not show that the study can detect such a gain. 'not measured':
    no seed has finished runs of all arms of the claim."""
    value: Interval = Interval()
    """The estimate of the claim's contrast with its interval. The intervals of all claims are simultaneous."""
    control: Interval | None = None
    """The estimate of the claim's control contrast with its interval. The intervals of all control contrasts are
    simultaneous. None if the claim has no control contrast, or if no seed has finished runs of all its arms."""
    reason: str = ""
    """Why the claim is not decided, not testable or not measured; '' if the interval alone gives the outcome."""


def joint_outcome(outcomes: Sequence[ClaimOutcome]) -> str:
    """Combines the outcomes of a claim for all decoding settings (such as greedy, and sampling at temperature 1). Returns
    the outcome if all outcomes are equal. Returns `DEPENDS` if the claim is confirmed with one setting and refuted with
    another. Returns '' for any other combination."""
    if len(set(outcomes)) == 1:
        return outcomes[0]
    return DEPENDS if {"confirmed", "refuted"} <= set(outcomes) else ""


class PaperTable(Record):
    """A table of results from a published paper, measured on other models and data. The numbers give context and are
    not directly comparable with the study's numbers."""

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
    """A factor that the study varies, and the arm for each value of this factor."""

    model_config = ConfigDict(allow_inf_nan=False)
    label: str
    """The name of the factor."""
    x: tuple[float, ...] = Field(min_length=2)
    """The values of the factor, in the order of the x axis."""
    log: bool = False
    """True if the x axis is logarithmic."""
    series: dict[str, tuple[str | None, ...]] = Field(min_length=1)
    """Maps the name of each line in the figure to the arms on this line, one arm for each value of the factor. The entry
    is null if a value has no arm."""

    @model_validator(mode="after")
    def _lines_are_complete(self) -> Self:
        for name, arms in self.series.items():
            if len(arms) != len(self.x):
                raise UserError(
                    f"`sweep.series.{name}` has {len(arms)} arms for {len(self.x)} values of `x`. Write null for a "
                    "value without an arm."
                )
        if self.log and min(self.x) <= 0:
            raise UserError(f"`sweep.x` contains {min(self.x):g}. A logarithmic axis needs values above 0.")
        return self

    def among(self, arms: Iterable[str]) -> Sweep | None:
        """Returns a copy of the sweep that contains only the arms in `arms`. Returns None if the sweep contains none of
        `arms`."""
        known = set(arms)
        series = {name: tuple(arm if arm in known else None for arm in line) for name, line in self.series.items()}
        kept = {name: line for name, line in series.items() if any(line)}
        return self.model_copy(update={"series": kept}) if kept else None


class TuningTrial(Record):
    """One combination of settings that was tried before the study to tune an arm."""

    arm: str
    """Name of the arm."""
    settings: dict[str, JsonValue]
    """Maps each tuned setting to its value in this trial."""
    seed: int
    """The seed of this trial. Tuning and the study use different seeds."""
    score: Number = None
    """Validation score; None if the trial diverged."""
    chosen: bool = False
    """True if the study uses these settings."""
    behind: Number = None
    """The mean score of the chosen settings minus the mean score of these settings. None for the chosen settings, and
    if the difference was not measured."""
    behind_error: Number = None
    """Standard error of `behind`, computed from paired differences on the validation problems. The standard error does
    not include the variation between training seeds."""


def check_arms(claims: Iterable[Claim], sweep: Sweep | None, arms: Iterable[str]) -> None:
    """Raises `UserError` if a claim or the sweep names an unknown arm, or if two claims have the same name. The message
    about an unknown arm gives the nearest known name."""
    known, names = set(arms), set[str]()
    for claim in claims:
        if claim.name in names:
            raise UserError(f"`claims`: {claim.name} occurs twice. Give the claims or their parts different names.")
        names.add(claim.name)
        refuse_unknown({**claim.contrast, **claim.control}, known, f"`claims`: {claim.name} names the arm")
    for name, line in sweep.series.items() if sweep else ():
        refuse_unknown((arm for arm in line if arm is not None), known, f"`sweep.series.{name}` names the arm")
