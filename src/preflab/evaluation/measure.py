"""Defines `Measure`: the name of a measured quantity, with its label, unit, range and direction of improvement.
Evaluators declare measures. Does not import torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class Measure(BaseModel):
    """The name of a measured quantity, with its label, unit, range and direction of improvement."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    name: str
    """The name of the measure, e.g. 'pass@1' or 'kl': the key in every `metrics` mapping, and the value of
    `MeasuredValue.metric`."""
    label: str = ""
    """The name of the measure in reports; by default, `name`."""
    unit: str = ""
    """The unit of the values, e.g. 'words'; '' if the label or the note gives the unit."""
    share: bool = False
    """True if the values are shares between 0 and 1, which reports show in percent."""
    nonnegative: bool = False
    """True if the values cannot be below 0. Intervals are then clipped at 0."""
    better: Literal["higher", "lower", "neither"] = "neither"
    """The direction of an improvement."""
    note: str = ""
    """How the values are measured: the estimator, the samples per problem, and misinterpretations to avoid."""

    @model_validator(mode="before")
    @classmethod
    def _label_is_the_name(cls, data: Any) -> Any:
        return {"label": data.get("name"), **data} if isinstance(data, Mapping) else data

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that the measure can take."""
        return (0.0 if self.share or self.nonnegative else -math.inf, 1.0 if self.share else math.inf)

    @property
    def heading(self) -> str:
        """The label followed by the unit in parentheses, for a column heading. The label alone if `unit` is ''."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def is_submitted(self) -> bool:
        """True for k@n, which submits k of n samples."""
        return SUBMITTED.fullmatch(self.name) is not None


VALIDATION = "validation/"
"""The prefix of the names of measures on the validation split."""
SUBMITTED = re.compile(r"(\d+)@(\d+)(, clustered)?")
"""A pattern that matches the names of the measures k@n, such as '10@1000' and '10@1000, clustered'."""
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
            note="nats per response; the reference may follow the policy",
        ),
        Measure(name="length", label="length", nonnegative=True, note="tokens per response"),
        Measure(name="entropy", label="entropy", nonnegative=True, note="nats per token"),
        Measure(name="truncated", label="truncated", share=True, better="lower", note="hit the length limit"),
    )
}
ALWAYS_MEASURED = ("score", "length", "truncated", "distinct-2", "kl", "entropy")
"""The names of the measures that preflab itself computes for every policy, whichever evaluators the study uses."""


def on_validation(measure: Measure) -> Measure:
    """Returns the measure of the same quantity on the validation split. The name of the returned measure begins with
    'validation/', and its label ends with ', validation'."""
    return measure.model_copy(update={"name": VALIDATION + measure.name, "label": f"{measure.label}, validation"})


def known_measure(name: str, *, note: str = "") -> Measure:
    """Returns the measure with this name and its default label, direction and note. The known names are 'pass@K',
    'K@N', 'distinct-N' and the keys of `KNOWN_MEASURES`. With the prefix 'validation/', a name means the measure on the
    validation split. For an unknown name, the label is the name, and `better` is 'neither'. `note` replaces the default
    note.
    """
    if name.startswith(VALIDATION):
        return on_validation(known_measure(name.removeprefix(VALIDATION), note=note))
    submitted = SUBMITTED.fullmatch(name)
    if submitted:
        explained = "at most {} of {} samples submitted, chosen by the public tests".format(*submitted.groups())
        measure = Measure(name=name, label=name, share=True, better="higher", note=explained)
    elif name.startswith("pass@"):
        measure = Measure(name=name, label=name, share=True, better="higher")
    elif name.startswith("distinct-"):
        measure = Measure(name=name, label=name, share=True, note="share of different n-grams")
    else:
        measure = KNOWN_MEASURES.get(name, Measure(name=name, label=name))
    return measure.model_copy(update={"note": note}) if note else measure
