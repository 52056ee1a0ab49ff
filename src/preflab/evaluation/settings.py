"""The settings for measuring policies. All arms of a study share these settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from preflab.fields import Count
from preflab.spec import Spec

DecodingChoice = Literal["chosen", "unit"]
"""The sampling temperature of a measurement. 'chosen': the temperature in the settings; if the settings give several
temperatures, the temperature that was chosen on the validation split. 'unit': temperature 1."""
CLUSTERED = ", clustered"
"""The end of a measure's name, as in '10@1000, clustered', if clusters choose the submissions of k@n."""


class Evaluation(Spec):
    """The settings for measuring policies. They are the same for every arm.

    `temperatures`: the sampling temperature, 0 for greedy decoding. If there are several temperatures, each policy uses
    the temperature with the best score on the validation split. Every policy is measured at this temperature and at
    temperature 1. `look_*`: settings of the evaluations on the validation split during training. `validation`: whether
    the trained policy is measured on the validation split too, with as many samples as on the test split. `prompts`:
    the number of prompts of a split that are used (0: all). `pairs`: the number of pairs of a split on which a reward
    model is measured (0: all). `submissions`: pairs (k, n) for the measure k@n. This measure filters n samples by the
    problem's public tests, and submits k of the samples that pass. `clusters`: the number of new inputs that are made
    from the inputs of the public tests. Samples with the same behaviour on all new inputs form a cluster, and
    submissions are also chosen by clusters. If `clusters` is 0, clusters are not used.
    """

    samples: Count = 8
    k: tuple[Count, ...] = (1, 5)
    submissions: tuple[tuple[Count, Count], ...] = ()
    clusters: int = Field(default=0, ge=0)
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0,), min_length=1)
    validation_samples: Count = 2
    max_new_tokens: Count = 256
    prompts: int = Field(default=0, ge=0)
    pairs: int = Field(default=0, ge=0)
    validation: bool = False
    shown: int = Field(default=12, ge=0)
    kl_samples: Count = 512
    look_prompts: Count = 100
    look_samples: Count = 2

    @model_validator(mode="before")
    @classmethod
    def _k_follows_samples(cls, data: Any) -> Any:
        """If `k` is not given, uses the default values of `k` that are at most `samples`."""
        samples = data.get("samples") if isinstance(data, Mapping) else None
        if not isinstance(samples, int) or "k" in data:
            return data
        return {**data, "k": tuple(k for k in cls.model_fields["k"].default if k <= max(1, samples))}

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if max(self.k, default=0) > self.samples:
            raise ValueError(
                f"pass@{max(self.k)} needs {max(self.k)} samples for each problem, but `samples` is {self.samples}"
            )
        for k, n in self.submissions:
            if not k <= n <= self.samples:
                raise ValueError(f"{k}@{n} needs k <= n <= samples, but `samples` is {self.samples}")
            if self.clusters and n != self.samples:
                raise ValueError(
                    f"`clusters` needs n = samples. In {k}@{n}, n is not {self.samples}. Change n or remove `clusters`"
                )
        if self.clusters and not self.submissions:
            raise ValueError(
                "`clusters` needs `submissions`, because clusters serve to choose submissions. Give submissions, such as "
                "`submissions: [[10, 1000]]`"
            )
        return self

    def count_pairs(self, available: int) -> int:
        """Returns the number of pairs on which a reward model is measured, if a split has `available` pairs."""
        return min(available, self.pairs or available)

    @property
    def is_greedy(self) -> bool:
        """True if `temperatures` is a single 0, so that every policy answers greedily, with one answer to each
        prompt."""
        return self.temperatures == (0.0,)

    @property
    def decodings(self) -> dict[DecodingChoice, str]:
        """The decoding settings at which a study compares its arms, each with a phrase that can begin a sentence, such
        as 'At temperature 1'. 'chosen' is the temperature in `temperatures`, or the best temperature if there are
        several. 'unit' is temperature 1. If `temperatures` is a single 1, the two settings are equal, and
        'unit' is left out."""
        unit = "At temperature 1"
        only, *others = self.temperatures
        if others:
            return {"chosen": "At the chosen temperature", "unit": unit}
        if only == 1.0:
            return {"chosen": unit}
        return {"chosen": f"At temperature {only:g}" if only else "With greedy decoding", "unit": unit}

    @property
    def rates(self) -> tuple[str, ...]:
        """The names of the measures for programs. The first is pass@1, which is the mean score."""
        names = [f"pass@{k}" for k in dict.fromkeys((1, *self.k))]
        names += [f"{k}@{n}{way}" for k, n in self.submissions for way in ("", CLUSTERED)[: 1 + bool(self.clusters)]]
        return tuple(names)
