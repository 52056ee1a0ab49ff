"""Records each step of a run: its metrics, a few sampled answers, the outcomes of tests, and its duration."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preflab.errors import UserError
from preflab.train import faults
from preflab.train.files import FileStart, Lines
from preflab.train.ownership import METRICS, SAMPLES, TIMING
from preflab.train.progress import Progress
from preflab.train.settings import Keeping
from preflab.train.trackers import Trackers
from preflab.types import VERDICT, Completion, Prompt
from preflab.work import followed_by

SAMPLES_KEPT = 4  # the number of samples that each call of `show` keeps


class RunRecord:
    """Writes the files `metrics.jsonl`, `samples.jsonl` and `timing.jsonl`, updates the trackers, and shows the
    progress.

    `values`, `samples` and `verdicts` belong to the current step. A repeated run writes exactly the same
    `metrics.jsonl` and `samples.jsonl`. The values that differ between repeated runs, such as seconds and process ids,
    are in `timing.jsonl`.
    """

    def __init__(self, directory: Path, keeping: Keeping, label: str) -> None:
        self._files = {"metrics": Lines(directory / METRICS), "samples": Lines(directory / SAMPLES)}
        self._timing = Lines(directory / TIMING)
        self._timing.cut_half_line()
        self._trackers = Trackers(directory, wandb=keeping.wandb, label=label)
        self._view = Progress(label, enabled=keeping.progress)
        self.begin_step()

    def begin_step(self) -> None:
        """Empties the values, samples and verdicts of the step."""
        self.values: dict[str, float] = {}
        self.samples: list[dict[str, Any]] = []
        self.verdicts: Counter[str] = Counter()

    def log(self, values: Mapping[str, float], prefix: str = "") -> None:
        """Adds values to the step's metrics. All values must be deterministic. A value that is not finite, such as a
        ratio that overflowed in a skipped update, is left out, because JSON cannot represent it."""
        named = {prefix + name: float(value) for name, value in values.items()}
        self.values.update({name: value for name, value in named.items() if math.isfinite(value)})

    def show(self, prompts: Sequence[Prompt], completions: Sequence[Completion], scores: Sequence[float]) -> None:
        """Adds the first `SAMPLES_KEPT` of these answers to the step's samples, each with its score."""
        for prompt, answer, score in list(zip(prompts, completions, scores, strict=True))[:SAMPLES_KEPT]:
            text, truncated = answer.text, answer.truncated
            self.samples.append({"prompt": prompt.id, "text": text, "truncated": truncated, "score": score})

    def write_step(self, step: int, *, progress: float, seconds: float, counts: Mapping[str, float]) -> None:
        """Writes the metrics and samples of the step, and shows the progress. `counts`: the meter's counts, together
        with the number of updates so far."""
        total = self.verdicts.total()
        verdicts = {f"{VERDICT}{name}": count / total for name, count in sorted(self.verdicts.items())}
        self._files["metrics"].write({"step": step, "progress": progress, **self.values, **verdicts, **counts})
        for sample in self.samples:
            self._files["samples"].write({"step": step, **sample})
        faults.pass_point("metrics.written")
        self.write_timing({"step": step, "seconds": round(seconds, 4)})
        self._view.show(step, progress, self.values, counts)

    def write_timing(self, facts: Mapping[str, float]) -> None:
        """Writes a line to `timing.jsonl`, with the id of this process."""
        self._timing.write({**facts, "pid": os.getpid()})

    def marks(self) -> dict[str, FileStart]:
        """Syncs `metrics.jsonl` and `samples.jsonl` to the disk, and returns a mark of the current end of each file."""
        return {name: lines.mark() for name, lines in self._files.items()}

    def check(self, marks: Mapping[str, FileStart]) -> None:
        """Raises `UserError` if the part of a file before its mark has changed since the mark was made."""
        for name, lines in self._files.items():
            if not lines.holds(marks[name]):
                raise UserError(f"{lines.path} is damaged.")

    def cut(self, marks: Mapping[str, FileStart]) -> None:
        """Removes everything after the mark from each file. Empties a file that has no mark."""
        for name, lines in self._files.items():
            lines.cut(marks[name]["bytes"] if name in marks else 0)

    def say(self, text: str) -> None:
        """Prints a line on the terminal."""
        self._view.say(text)

    @contextmanager
    def following_work(self) -> Generator[None]:
        """Shows the progress of each long task in the block. At the end, removes the progress bar."""
        try:
            with followed_by(self._view.follow):
                yield
        finally:
            self._view.close()

    def end_steps(self) -> None:
        """Removes the progress bar after the last step, and sends the new metrics to the trackers."""
        self._view.close()
        self.publish()

    def publish(self) -> None:
        """Sends the new metrics to the trackers. Must be called only after a checkpoint or at the end, because a
        resumed run removes metrics that were written after the last checkpoint."""
        self._trackers.follow()

    def close(self) -> None:
        """Closes the files, the trackers and the progress bar."""
        self._view.close()
        self._trackers.close()
        for lines in (*self._files.values(), self._timing):
            lines.close()
