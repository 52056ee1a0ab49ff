"""What every record of a study's findings is built from: numbers, intervals, metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite(value: Any) -> Any:
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        return value
    return value if math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_finite)]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class Interval(Record):
    """An estimate with its confidence interval."""

    estimate: Number = None
    """The point estimate; None where it could not be computed."""
    low: Number = None
    """Lower end; None when there is no interval (a single seed)."""
    high: Number = None
    """Upper end."""
    df: Number = None
    """Degrees of freedom of the t quantile (Satterthwaite); None when there is none."""


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
        found = Metric(name=name, label=name, share=True, better="higher")
    elif name.startswith("distinct-"):
        found = Metric(name=name, label=name, share=True, note="share of different n-grams")
    else:
        found = KNOWN_METRICS.get(name, Metric(name=name, label=name))
    return found.model_copy(update={"note": note}) if note else found
