"""Ends a run when its validation score stops improving. A constant learning rate precedes a short cooldown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.train.learner import Optim
from preflab.train.settings import COOLDOWN, Plateau
from preflab.train.state import require_count, require_number


class Ending:
    """Decides when a run ends, and computes the position of an update in the learning-rate schedule. `cooling_from`:
    the progress at which the cooldown began; None before the cooldown. `reached`: True if the cooldown began because
    the validation score stopped improving; False if the cooldown began because the run had used 85% of its budget or
    length."""

    def __init__(self, plateau: Plateau | None) -> None:
        self.plateau = plateau
        self.stale = 0  # the number of evaluations since the best score
        self.updates = 0  # the number of updates of the policy before the last evaluation
        self.cooling_from: float | None = None
        self.reached = False

    @property
    def end(self) -> float:
        """The progress at which the run ends."""
        return 1.0 if self.cooling_from is None else min(1.0, self.cooling_from / (1.0 - COOLDOWN))

    def schedule(self, optim: Optim) -> Optim:
        """Returns the settings of an optimizer. If the run has the setting `plateau`, replaces the schedule by
        `warmup-stable-decay`."""
        return optim if self.plateau is None else optim.model_copy(update={"schedule": "warmup-stable-decay"})

    def place(self, progress: float) -> float:
        """Returns the position in the learning-rate schedule, in [0,1]. `progress`: the share of the run that is done.

        Without the setting `plateau`, the position is the progress p. With `plateau`, the position is min(p, .85)
        before the cooldown, and .85 + .15 (p - c) / (e - c) in a cooldown from c to e.
        """
        if self.plateau is None:
            return progress
        start = 1.0 - COOLDOWN
        if self.cooling_from is None or self.cooling_from >= self.end:
            return min(progress, start)
        done = (progress - self.cooling_from) / (self.end - self.cooling_from)
        return start + COOLDOWN * min(max(done, 0.0), 1.0)

    def note(self, *, improved: bool, updates: int) -> None:
        """Counts an evaluation without improvement, or sets the count to 0 if the score improved. `updates`: the number
        of updates of the policy before this evaluation. Does not count an evaluation if the policy had no update since
        the last evaluation, for example while only the critic trains."""
        if improved:
            self.stale = 0
        elif updates > self.updates:
            self.stale += 1
        self.updates = updates

    def starts_cooldown(self, progress: float) -> bool:
        """Begins the cooldown if the cooldown is due at this progress. Returns True if the cooldown begins with this
        call."""
        if self.plateau is None or self.cooling_from is not None:
            return False
        self.reached = self.stale >= self.plateau.patience
        if not self.reached and progress < 1.0 - COOLDOWN:
            return False
        self.cooling_from = progress
        return True

    @property
    def reason(self) -> str:
        """The reason why the cooldown began, in words."""
        if self.plateau is None or not self.reached:
            return "the run has used 85% of the most that it may use"
        return f"validation has not improved for {self.plateau.patience} evaluations"

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, as a tree for a checkpoint."""
        return {
            "stale": self.stale,
            "updates": self.updates,
            "cooling_from": self.cooling_from,
            "reached": self.reached,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads the tree that `state_dict` returned. Raises `KeyError` or `ValueError` if the tree is damaged."""
        self.stale, self.updates = require_count(state, "stale"), require_count(state, "updates")
        self.reached = bool(state["reached"])
        self.cooling_from = None if state["cooling_from"] is None else require_number(state, "cooling_from")
