"""The types from which the records of a study's results are built: numbers and intervals."""

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
"""A result with fewer seeds than this number is called preliminary."""


class Interval(Record):
    """An estimate with its confidence interval. With only one seed or one problem, the interval is missing, and `reason`
    says why. If no spread was seen, the interval has no width, and `reason` says so."""

    estimate: Number = None
    """The point estimate; None if it could not be computed."""
    low: Number = None
    """Lower end of the interval; None if there is no interval (a single seed)."""
    high: Number = None
    """Upper end of the interval; None if there is no interval."""
    df: Number = None
    """Degrees of freedom of the t quantile; None if there is no t quantile."""
    se: Number = None
    """Standard error of the estimate."""
    seed_sd: Number = None
    """Standard deviation between seeds (training runs)."""
    problem_sd: Number = None
    """Standard deviation between problems."""
    noise_sd: Number = None
    """Residual standard deviation of a cell (one seed, one problem), after the effects of seed and problem are
    removed."""
    confidence: float = 0.95
    """The confidence level of the interval. For a family of intervals, the simultaneous confidence level."""
    seeds: int = 0
    """The number of seeds behind the estimate; 0 if the estimate is not over seeds."""
    problems: int = 0
    """The number of problems behind the estimate; 0 if the estimate is not over problems."""
    diverged: int = 0
    """The number of diverged runs that are part of the estimate. Diverged runs are kept in all statistics."""
    reason: str = ""
    """The reason why there is no interval, or why it has no width."""

    def within(self, lowest: float, highest: float) -> Self:
        """Clips the interval to the possible values of its quantity, `lowest` to `highest`. If the estimate itself lies
        outside this range, the interval is not changed."""
        if self.estimate is None or not lowest <= self.estimate <= highest or self.low is None or self.high is None:
            return self
        return self.model_copy(update={"low": max(self.low, lowest), "high": min(self.high, highest)})

    @property
    def has_no_spread(self) -> bool:
        """True if the interval has no width, because no spread was seen."""
        return self.low is not None and self.reason != ""

    @property
    def preliminary(self) -> bool:
        return self.seeds < ENOUGH_SEEDS
