"""A reward that combines the scores of several reward models, to resist over-optimisation (Coste et al. 2024).

For the scores r_m of M models, the rule `mean` gives (1/M) sum_m r_m, the rule `worst` gives min_m r_m, and the rule
`uncertainty` gives the mean of r_m minus c times the variance of r_m.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import fmean, pvariance
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from preflab.rewards import REWARDS, parse_scorer
from preflab.rewards.base import Reward, RewardSpec
from preflab.spec import Context, require_base
from preflab.types import Completion, Prompt

EnsembleMember = Annotated[Any, BeforeValidator(partial(parse_scorer, registry=REWARDS)), PlainSerializer(REWARDS.dump)]


class Ensemble(RewardSpec):
    """The settings of a reward that combines several reward models. `models`: the members of the ensemble. Each member
    is given as the path of a saved reward model, or as the spec of a reward. `combine`: the rule that combines the
    members' scores. `coefficient`: the weight c of the variance in the rule `uncertainty` (Coste et al. use .1 for PPO
    and .5 for best-of-n).

    Different models score on different scales. A study therefore normalises the scores of each model by their mean and
    standard deviation on held-out pairs. Outside a study, set `mean` and `std` of each model yourself.
    """

    kind: Literal["ensemble"] = "ensemble"
    models: Annotated[tuple[EnsembleMember, ...], Field(min_length=2)]
    combine: Literal["mean", "worst", "uncertainty"] = "mean"
    coefficient: float = Field(default=0.1, ge=0, allow_inf_nan=False)

    @property
    def buys_labels(self) -> bool:
        return any(spec.buys_labels for spec in self.models)

    def saved_models(self) -> tuple[str, ...]:
        return tuple(path for spec in self.models for path in spec.saved_models())

    def check_names(self) -> None:
        for spec in self.models:
            spec.check_names()

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        return self.model_copy(update={"models": tuple(spec.with_saved_models(settings_of) for spec in self.models)})

    @contextmanager
    def open(self, context: Context) -> Generator[EnsembleReward]:
        """Opens every member. Each member charges its own compute or labels to the meter."""
        with ExitStack() as stack:
            members = [require_base(stack.enter_context(spec.open(context)), Reward) for spec in self.models]
            yield EnsembleReward(self, members)


class EnsembleReward(Reward):
    """Combines the scores of several rewards, which are the `members`."""

    def __init__(self, spec: Ensemble, members: Sequence[Reward]) -> None:
        self.deterministic = all(reward.deterministic for reward in members)
        self.buys_labels = any(reward.buys_labels for reward in members)
        self._spec = spec
        self._members = members

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[float]:
        """Combines the members' scores into one score for each completion."""
        columns = zip(*(reward.score(prompts, completions) for reward in self._members), strict=True)
        return [self._combined(column) for column in columns]

    def _combined(self, scores: Sequence[float]) -> float:
        if self._spec.combine == "worst":
            return min(scores)
        doubt = self._spec.coefficient * pvariance(scores) if self._spec.combine == "uncertainty" else 0.0
        return fmean(scores) - doubt
