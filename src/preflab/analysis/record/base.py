"""What every record of a study's results is built from: numbers, intervals, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, SupportsFloat

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

    @property
    def preliminary(self) -> bool:
        return self.seeds < ENOUGH_SEEDS


class Metric(Record):
    """How a measured quantity is called and read."""

    name: str
    """Key in every `metrics` mapping and in `Measure.metric`, e.g. 'pass@1', 'kl'."""
    label: str
    """What the report calls it."""
    share: bool = False
    """A share of one (shown in percent)."""
    better: Literal["higher", "lower", "neither"] = "neither"
    """Which direction is an improvement."""
    note: str = ""
    """How it is measured: estimator, samples per problem, what it must not be read as."""


SUBMITTED = re.compile(r"\d+@\d+(, clustered)?")
KNOWN_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="reward", label="mean reward", better="higher"),
        Metric(name="kl", label="KL to SFT", note="nats per response"),
        Metric(name="reference_kl", label="KL to the reference", note="nats per response; the reference may follow"),
        Metric(name="length", label="length", note="tokens per response"),
        Metric(name="entropy", label="entropy", note="nats per token"),
        Metric(name="truncated", label="truncated", share=True, better="lower", note="hit the length limit"),
    )
}


def known_metric(name: str, *, note: str = "") -> Metric:
    """The usual label and direction of a metric by its name: 'pass@K', 'K@N', 'distinct-N' and `KNOWN_METRICS`.

    A name that is not known is its own label and has no direction. `note` replaces the usual note.
    """
    if name.startswith("pass@") or SUBMITTED.fullmatch(name):
        metric = Metric(name=name, label=name, share=True, better="higher")
    elif name.startswith("distinct-"):
        metric = Metric(name=name, label=name, share=True, note="share of different n-grams")
    else:
        metric = KNOWN_METRICS.get(name, Metric(name=name, label=name))
    return metric.model_copy(update={"note": note}) if note else metric
