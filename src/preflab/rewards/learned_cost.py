"""A cost that is a saved cost model: the sign of its score separates safe from unsafe answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field

from preflab.models.cost_head import load_cost_model
from preflab.models.locate import locate_scorer
from preflab.rewards.base import RewardSpec
from preflab.rewards.learned import Learned, LearnedReward
from preflab.spec import Context


class LearnedCost(RewardSpec):
    """The cost is raw / scale, where raw is the score of the saved cost model in `path`. Nothing is subtracted, since a cost
    of 0 is the boundary between safe and unsafe. `tokens`, `trained_on`: see `Learned`."""

    kind: Literal["learned"] = "learned"
    path: str
    scale: float = Field(default=1.0, gt=0)
    tokens: int = Field(default=16384, ge=1)
    trained_on: str = ""

    @property
    def buys_labels(self) -> bool:
        return False

    def saved_models(self) -> tuple[str, ...]:
        return (self.path,)

    def cost_models(self) -> tuple[str, ...]:
        return (self.path,)

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        return self.model_copy(update={"path": settings_of(self.path).get("path", self.path)})

    def origins(self) -> dict[str, str]:
        return {self.path: self.trained_on} if self.trained_on else {}

    @contextmanager
    def open(self, context: Context) -> Generator[LearnedReward]:
        """Loads the model onto the context's device. Raises `UserError` if the model is not a cost model."""
        lm = load_cost_model(locate_scorer(self.path), date=context.date)
        scored = Learned(path=self.path, std=self.scale, tokens=self.tokens)
        yield LearnedReward(scored, replace(lm, model=lm.model.to(context.device).eval()), context.meter)
