"""Runs a clock from the start of a transformers trainer's training to the end of its last step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from benchmarks.sides.clock import Clock


class Steps(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.stop()
        self.clock.start()
