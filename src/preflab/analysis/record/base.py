"""What every record of a study's results is built from: numbers, intervals."""

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
"""A result of fewer seeds is called preliminary."""


class Interval(Record):
    """An estimate with its confidence interval. One seed, or one problem, gives no interval; `reason` then says why."""

    estimate: Number = None
    """The point estimate; None where it could not be computed."""
    low: Number = None
    """Lower end; None when there is no interval (a single seed)."""
    high: Number = None
    """Upper end."""
    df: Number = None
    """Degrees of freedom of the t quantile; None when there is none."""
    se: Number = None
    """Standard error."""
    seed_sd: Number = None
    """Standard deviation between runs."""
    problem_sd: Number = None
    """Standard deviation between problems."""
    noise_sd: Number = None
    """Standard deviation of a cell (one seed, one problem) around both."""
    confidence: float = 0.95
    """The probability with which the interval holds, or all intervals of its family at once."""
    seeds: int = 0
    """Seeds that it rests on; 0 where it does not rest on seeds."""
    problems: int = 0
    """Problems that it rests on; 0 where it does not rest on problems."""
    diverged: int = 0
    """Runs among them that diverged: outcomes, counted and not dropped."""
    reason: str = ""
    """Why there is no interval."""

    def within(self, lowest: float, highest: float) -> Self:
        """The interval without what lies outside the values that its quantity can take; as it is where the estimate does."""
        if self.estimate is None or not lowest <= self.estimate <= highest or self.low is None or self.high is None:
            return self
        return self.model_copy(update={"low": max(self.low, lowest), "high": min(self.high, highest)})

    @property
    def preliminary(self) -> bool:
        return self.seeds < ENOUGH_SEEDS
