"""Selects the checkpoint whose weights are the result of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from preflab.train.state import require_count, require_number


class Selection:
    """Selects the checkpoint with the best validation score, by the same rule for every method. The policy is evaluated
    `evaluations` times, at equal distances in the progress of the run. The last of these evaluations is at the end of
    the run. A run that ends at a plateau is evaluated fewer times, the last time at its end."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations
        self.done = 0
        self.best_score = -math.inf
        self.best_step = 0

    def due(self, progress: float, end: float) -> bool:
        """Returns True if an evaluation is due at this progress. `end`: the progress at which the run ends. An
        evaluation is always due at the end."""
        return progress >= end or self._looks(progress) > self.done

    def count_unscored(self, progress: float) -> None:
        """Counts an evaluation that has no score."""
        self.done = self._looks(progress)

    def note(self, progress: float, step: int, score: float) -> bool:
        """Records the score of an evaluation, and returns True if it is the best score so far. Raises
        `FloatingPointError` if the score is not finite."""
        if not math.isfinite(score):
            raise FloatingPointError(f"The validation score is {score}.")
        self.count_unscored(progress)
        better = score > self.best_score
        if better:
            self.best_score, self.best_step = score, step
        return better

    def _looks(self, progress: float) -> int:
        return math.floor(min(progress, 1.0) * self.evaluations + 1e-9)

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best_score == -math.inf else self.best_score
        return {"done": self.done, "best_score": best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.best_step = require_count(state, "done"), require_count(state, "best_step")
        self.best_score = -math.inf if state["best_score"] is None else require_number(state, "best_score")
