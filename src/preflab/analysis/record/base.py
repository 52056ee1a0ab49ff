"""Defines the base class of all records in a study's results, and the types for numbers and intervals."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self, SupportsFloat

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return value
    return value if math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_finite)]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    def __str__(self) -> str:
        return repr(self)


ENOUGH_SEEDS = 5
"""The number of seeds from which a result is not called preliminary any more."""


class Interval(Record):
    """An estimate with its confidence interval. If there are too few seeds or problems for an interval, `low` and `high`
    are None, and `reason` gives the cause. If the data show no spread, `low` equals `high`, and `reason` gives the
    cause."""

    estimate: Number = None
    """The point estimate; None if it could not be computed."""
    low: Number = None
    """Lower end of the interval; None if the interval could not be computed."""
    high: Number = None
    """Upper end of the interval; None if the interval could not be computed."""
    df: Number = None
    """Degrees of freedom of the t quantile; None if the interval does not use a t quantile."""
    se: Number = None
    """Standard error of the estimate."""
    seed_sd: Number = None
    """Standard deviation between seeds (training runs)."""
    problem_sd: Number = None
    """Standard deviation between problems."""
    noise_sd: Number = None
    """Residual standard deviation of a cell (one seed and one problem), without the effects of the seed and the
    problem."""
    confidence: float = 0.95
    """The confidence level of the interval. If the interval belongs to a family, the simultaneous level of the
    family."""
    seeds: int = 0
    """The number of seeds from which the estimate is computed; 0 if the estimate is not a mean over seeds."""
    problems: int = 0
    """The number of problems from which the estimate is computed; 0 if the estimate is not a mean over problems."""
    diverged: int = 0
    """The number of diverged runs among the runs from which the estimate is computed. All statistics include diverged
    runs."""
    reason: str = ""
    """Why the interval could not be computed, or a remark on an unusual interval, such as an interval of width 0. ''
    for a usual interval."""

    def within(self, lowest: float, highest: float) -> Self:
        """Returns the interval with its ends clipped to the range `lowest` to `highest`. If the estimate lies outside
        this range, returns the interval unchanged."""
        if self.estimate is None or not lowest <= self.estimate <= highest or self.low is None or self.high is None:
            return self
        return self.model_copy(update={"low": max(self.low, lowest), "high": min(self.high, highest)})

    @property
    def has_no_spread(self) -> bool:
        """True if the interval has width 0, apart from rounding."""
        return self.low is not None and self.high is not None and math.isclose(self.low, self.high, rel_tol=1e-9)

    @property
    def is_unusual(self) -> bool:
        """True if the ends of the interval are known, but `reason` contains a remark, such as a remark on a width of
        0."""
        return self.low is not None and self.reason != ""

    @property
    def preliminary(self) -> bool:
        return self.seeds < ENOUGH_SEEDS
