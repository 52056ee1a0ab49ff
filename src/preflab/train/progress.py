"""Shows the progress of a run: a bar on a terminal, or a line every ten seconds if the output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from preflab.terminal import Terminal
from preflab.train.log import logger

PROGRESS_METRICS = ("loss", "reward", "kl", "accuracy", "validation/score", "validation/loss")
LINE_SECONDS = 10.0


def format_metrics(record: Mapping[str, float]) -> str:
    """Returns one line with the most important metrics of a step."""
    return "  ".join(f"{name.split('/')[-1]} {record[name]:.3g}" for name in PROGRESS_METRICS if name in record)


class Progress:
    """Shows the loss, the reward, the KL and the tokens per second of a run, and the remaining time on a terminal."""

    def __init__(self, label: str, *, enabled: bool) -> None:
        self.label = label
        self.enabled = enabled
        self.console = Terminal(stderr=True)
        self.printed = time.monotonic()
        self.first: tuple[float, float] | None = None
        self.bar: RichProgress | None = None

    def show(self, step: int, progress: float, record: Mapping[str, float], counts: Mapping[str, float]) -> None:
        tokens = counts["trained_tokens"] + counts["sampled_tokens"]
        # In a resumed run, `counts` includes the tokens of earlier processes. The rate must not include these tokens.
        if self.first is None:
            self.first = (time.monotonic(), tokens)
        rate = (tokens - self.first[1]) / max(time.monotonic() - self.first[0], 1e-9)
        text = f"step {step}  {format_metrics(record)}  {rate:,.0f} tokens/s"
        logger.debug("%s: %3.0f%%  %s", self.label, 100 * min(progress, 1.0), text)
        if not self.enabled:
            return
        if self.console.is_terminal:
            self._draw(progress, text)
        elif time.monotonic() - self.printed >= LINE_SECONDS or progress >= 1.0:
            self.say(f"{min(progress, 1.0):4.0%}  {text}")

    def follow(self, what: str, share: float) -> None:
        """Shows the share of a long task that is done (see `preflab.work`). Removes the bar when the task is
        finished."""
        if self.enabled and self.console.is_terminal:
            if share < 1:
                self._draw(share, what)
            else:
                self.close()
        elif time.monotonic() - self.printed >= LINE_SECONDS:
            text = f"{share:4.0%}  {what}"
            logger.debug("%s: %s", self.label, text)
            self.say(text)

    def say(self, text: str) -> None:
        """Prints a line, above the progress bar if there is a bar."""
        self.printed = time.monotonic()
        if self.enabled:
            self.console.print(f"{self.label}: {text}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Removes the progress bar from the terminal."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _draw(self, progress: float, text: str) -> None:
        if self.bar is None:
            label, facts = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[facts]}"))
            self.bar = RichProgress(
                label, BarColumn(), facts, TimeRemainingColumn(), console=self.console, transient=True
            )
            self.bar.add_task(self.label, total=1.0, facts="")
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=min(progress, 1.0), facts=text)
