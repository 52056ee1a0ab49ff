"""A measure: how a measured quantity is called and read. Evaluators declare measures, and results hold them. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class Measure(BaseModel):
    """How a measured quantity is called and read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    name: str
    """Key in every `metrics` mapping and in `MeasuredValue.metric`, e.g. 'pass@1', 'kl'."""
    label: str = ""
    """What the report calls it; the name where it is not given."""
    unit: str = ""
    """What it is counted in, e.g. 'words'; '' where label or note say it."""
    share: bool = False
    """A share of one (shown in percent)."""
    nonnegative: bool = False
    """It cannot be below 0, so that no interval of it reaches there."""
    better: Literal["higher", "lower", "neither"] = "neither"
    """Which direction is an improvement."""
    note: str = ""
    """How it is measured: estimator, samples per problem, what it must not be read as."""

    @model_validator(mode="before")
    @classmethod
    def _label_is_the_name(cls, data: Any) -> Any:
        return {"label": data.get("name"), **data} if isinstance(data, Mapping) else data

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that it can take."""
        return (0.0 if self.share or self.nonnegative else -math.inf, 1.0 if self.share else math.inf)

    @property
    def heading(self) -> str:
        """The label with the unit, for the head of a column."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


SUBMITTED = re.compile(r"\d+@\d+(, clustered)?")
REWARD = Measure(name="reward", label="mean reward", better="higher")
KNOWN_MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        REWARD,
        Measure(name="kl", label="KL to SFT", nonnegative=True, note="nats per response"),
        Measure(
            name="reference_kl",
            label="KL to the reference",
            nonnegative=True,
            note="nats per response; the reference may follow",
        ),
        Measure(name="length", label="length", nonnegative=True, note="tokens per response"),
        Measure(name="entropy", label="entropy", nonnegative=True, note="nats per token"),
        Measure(name="truncated", label="truncated", share=True, better="lower", note="hit the length limit"),
    )
}
ALWAYS_MEASURED = ("score", "length", "truncated", "distinct-2", "kl", "entropy")
"""The names of what every policy is measured by, whatever its evaluators are."""


def known_measure(name: str, *, note: str = "") -> Measure:
    """The usual label and direction of a measure by its name: 'pass@K', 'K@N', 'distinct-N' and `KNOWN_MEASURES`.

    A name that is not known is its own label and has no direction. `note` replaces the usual note.
    """
    if name.startswith("pass@") or SUBMITTED.fullmatch(name):
        measure = Measure(name=name, label=name, share=True, better="higher")
    elif name.startswith("distinct-"):
        measure = Measure(name=name, label=name, share=True, note="share of different n-grams")
    else:
        measure = KNOWN_MEASURES.get(name, Measure(name=name, label=name))
    return measure.model_copy(update={"note": note}) if note else measure
