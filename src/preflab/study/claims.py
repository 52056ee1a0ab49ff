"""What a study sets out to test, written down before it runs: claims, the paper's figures, and what a sweep varies.

A claim is a contrast of arms, a margin and a rule; `study.judge` decides it from what was measured. Nothing here needs
numpy or torch: reading a study file is quick.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from preflab.errors import UserError, nearest
from preflab.spec import Spec

Rule = Literal["superior", "not-superior"]


class Claim(Spec):
    """One hypothesis. `contrast`: arm -> weight, the weights' sum 0: {a: 1, b: -1} is a difference, {a: 1, b: -1, c: -1,
    d: 1} one of differences, {small: -1, middle: 0, large: 1} a trend. `margin`: the smallest value of the contrast that is
    worth having, in units of the headline metric. `rule`: "superior" claims that the contrast is above 0, "not-superior"
    that it is below the margin. `part` names a part of a conjunction; `paper` holds the paper's figures, on other models.
    """

    model_config = ConfigDict(allow_inf_nan=False)
    id: str
    part: str = ""
    text: str
    contrast: dict[str, float]
    margin: float = Field(gt=0)
    rule: Rule = "superior"
    paper: str = ""

    @property
    def name(self) -> str:
        return f"{self.id} ({self.part})" if self.part else self.id

    @model_validator(mode="after")
    def _is_a_contrast(self) -> Self:
        if sum(weight != 0 for weight in self.contrast.values()) < 2:
            raise UserError(f"`claims`: {self.name} weighs fewer than two arms: there is nothing to contrast.")
        total = sum(self.contrast.values())
        if abs(total) > 1e-9:
            raise UserError(f"`claims`: the weights of {self.name} sum to {total:g}, not to 0: it is no contrast.")
        return self


class PaperTable(Spec):
    """Figures of the paper, shown beside the study's own and labelled as the paper's, on other models."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    title: str
    columns: tuple[str, ...] = Field(min_length=1)
    rows: tuple[tuple[str, ...], ...] = Field(min_length=1)
    note: str = ""

    @model_validator(mode="after")
    def _rows_are_complete(self) -> Self:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise UserError(
                    f"`paper.rows`: {list(row)} has {len(row)} cells for {len(self.columns)} columns; write '' for none."
                )
        return self


class Sweep(Spec):
    """A factor and the arms that vary it: `series` holds for each line one arm per value of `x` (null: no such arm)."""

    model_config = ConfigDict(allow_inf_nan=False)
    label: str
    x: tuple[float, ...] = Field(min_length=2)
    log: bool = False
    series: dict[str, tuple[str | None, ...]] = Field(min_length=1)

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

    def among(self, kept: Iterable[str]) -> Sweep | None:
        """The sweep over the arms that were kept; None where none was."""
        known = set(kept)
        series = {name: tuple(arm if arm in known else None for arm in arms) for name, arms in self.series.items()}
        left = {name: arms for name, arms in series.items() if any(arms)}
        return self.model_copy(update={"series": left}) if left else None


def check_arms(claims: Iterable[Claim], sweep: Sweep | None, arms: Iterable[str]) -> None:
    """Raises `UserError`, with the nearest right name, for an arm that the study does not have or a claim made twice."""
    known, seen = set(arms), set[str]()
    for claim in claims:
        if claim.name in seen:
            raise UserError(f"`claims`: {claim.name} stands there twice; give its parts different names.")
        seen.add(claim.name)
        for arm in claim.contrast:
            if arm not in known:
                raise UserError(f"`claims`: {claim.name} names the arm {arm!r}.{nearest(arm, known)}")
    for name, series in sweep.series.items() if sweep else ():
        for arm in series:
            if arm is not None and arm not in known:
                raise UserError(f"`sweep.series.{name}` names the arm {arm!r}.{nearest(arm, known)}")
