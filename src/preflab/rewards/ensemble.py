"""Several reward models combined into one reward, which rates what they agree on (Coste et al. 2024).

mean: (1/M) sum_m r_m. worst: min_m r_m. uncertainty: mean - c * variance, over the M members.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from statistics import fmean, pvariance
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer

from preflab.rewards import REWARDS
from preflab.rewards.base import Reward, RewardSpec
from preflab.spec import Context, require_base
from preflab.types import Completion, Prompt


def _parse_member(value: Any) -> Any:
    """Returns a reward's spec; a bare path stands for a saved reward model."""
    learned = isinstance(value, str) and value not in REWARDS.names()
    return REWARDS.parse({"kind": "learned", "path": value} if learned else value)


EnsembleMember = Annotated[Any, BeforeValidator(_parse_member), PlainSerializer(REWARDS.dump)]


class Ensemble(RewardSpec):
    """`models`: saved reward models, each a path or a reward's spec. `combine`: how their scores become one score.
    `coefficient`: the weight c of the scores' variance under `uncertainty` (Coste et al.: .1 for PPO, .5 for best-of-n).

    Each model's scores are in units of their own. In a study, each model's scores are normalised by its held-out scores, so
    that the members can be compared; elsewhere, give each model its `mean` and `std`.
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
        """Opens every member; each charges its own work to the meter."""
        with ExitStack() as stack:
            members = [require_base(stack.enter_context(spec.open(context)), Reward) for spec in self.models]
            yield EnsembleReward(self, members)


class EnsembleReward(Reward):
    """The opened reward."""

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
