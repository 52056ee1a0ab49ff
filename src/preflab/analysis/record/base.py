"""The parts from which every record of a study's results is built: numbers and intervals."""

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
"""A result with fewer seeds than this is called preliminary."""


class Interval(Record):
    """An estimate with its confidence interval. With only one seed or one problem, the interval is missing, and `reason`
    says why."""

    estimate: Number = None
    """The point estimate; None if it could not be computed."""
    low: Number = None
    """Lower end; None if there is no interval (a single seed)."""
    high: Number = None
    """Upper end; None if there is no interval."""
    df: Number = None
    """Degrees of freedom of the t quantile; None if there is no t quantile."""
    se: Number = None
    """Standard error of the estimate."""
    seed_sd: Number = None
    """Standard deviation between runs."""
    problem_sd: Number = None
    """Standard deviation between problems."""
    noise_sd: Number = None
    """Standard deviation of what seed and problem do not explain in a cell (one seed, one problem)."""
    confidence: float = 0.95
    """The probability with which the interval holds. In a family, all intervals hold at once with this probability."""
    seeds: int = 0
    """The number of seeds that the estimate rests on; 0 if it does not rest on seeds."""
    problems: int = 0
    """The number of problems that the estimate rests on; 0 if it does not rest on problems."""
    diverged: int = 0
    """The number of runs behind the estimate that diverged. They are outcomes: counted, not dropped."""
    reason: str = ""
    """Why there is no interval."""

    def within(self, lowest: float, highest: float) -> Self:
        """Cuts the interval to the values that its quantity can take, `lowest` to `highest`. If the estimate itself lies
        outside these values, the interval stays unchanged."""
        if self.estimate is None or not lowest <= self.estimate <= highest or self.low is None or self.high is None:
            return self
        return self.model_copy(update={"low": max(self.low, lowest), "high": min(self.high, highest)})

    @property
    def preliminary(self) -> bool:
        return self.seeds < ENOUGH_SEEDS
