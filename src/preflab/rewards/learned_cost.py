"""A cost that is a saved cost model. The sign of the model's score separates safe from unsafe answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field

from preflab.models.cost_head import load_cost_model
from preflab.models.locate import locate_scorer
from preflab.rewards.learned import Learned, LearnedReward, SavedScorer
from preflab.spec import Context


class LearnedCost(SavedScorer):
    """The cost is raw / scale, where raw is the score of the saved cost model in `path`. No mean is subtracted, because
    a cost of 0 is the boundary between safe and unsafe."""

    kind: Literal["learned"] = "learned"
    scale: float = Field(default=1.0, gt=0)

    def cost_models(self) -> tuple[str, ...]:
        return (self.path,)

    def with_saved_models(self, settings_of: Callable[[str], Mapping[str, Any]]) -> Self:
        return self.model_copy(update={"path": settings_of(self.path).get("path", self.path)})

    @contextmanager
    def open(self, context: Context) -> Generator[LearnedReward]:
        """Loads the model onto the context's device. Raises `UserError` if the model is not a cost model."""
        lm = load_cost_model(locate_scorer(self.path), date=context.date)
        scored = Learned(path=self.path, std=self.scale, tokens=self.tokens)
        yield LearnedReward(scored, replace(lm, model=lm.model.to(context.device).eval()), context.meter)
