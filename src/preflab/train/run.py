"""A run: one directory, one writer, one loop that can be killed at any moment and goes on exactly where it was.

Randomness is never carried along: every draw has a name, and its seed is a hash of the run's seed and that name
(`run.seed_for("rollout", 7)`). What a checkpoint must hold is therefore weights, optimizers and counters alone. What no
seed can repeat (an endpoint's answer) is written down before it is used (`run.replay`).
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors.torch import load_file, save_file

from preflab.meter import Meter
from preflab.models.lm import LanguageModel
from preflab.models.reference import trainable
from preflab.rewards.base import Reward
from preflab.train import checkpoint, faults
from preflab.train.directory import FORMAT, claim, clear, locked
from preflab.train.files import Lines, new_directory, read_json, write_json
from preflab.train.progress import Progress
from preflab.train.settings import Budget, Keeping
from preflab.types import Completion, Prompt

T = TypeVar("T")


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Selection:
    """The one rule by which every method's checkpoint is chosen: the best of `evaluations` looks at the validation split,
    at equal shares of the run."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations
        self.done = 0
        self.best_score = -math.inf
        self.best_step = 0

    def due(self, progress: float) -> bool:
        return math.floor(min(progress, 1.0) * self.evaluations + 1e-9) > self.done

    def seen(self, progress: float, step: int, score: float) -> bool:
        """Takes note of a look; True where it is the best so far."""
        self.done = math.floor(min(progress, 1.0) * self.evaluations + 1e-9)
        better = score > self.best_score
        if better:
            self.best_score, self.best_step = score, step
        return better

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best_score == -math.inf else self.best_score
        return {"done": self.done, "best_score": best, "best_step": self.best_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.done, self.best_step = state["done"], state["best_step"]
        self.best_score = -math.inf if state["best_score"] is None else state["best_score"]


class Run:
    """The open run directory. Made by `open_run`."""

    def __init__(
        self, directory: Path, *, seed: int, budget: Budget | None, evaluations: int, keeping: Keeping, label: str
    ) -> None:
        self.directory = directory
        self.seed = seed
        self.budget = budget
        self.keeping = keeping
        self.meter = Meter()
        self.selection = Selection(evaluations)
        self.progress = 0.0
        self._share: Callable[[int], float] = lambda step: 0.0
        self.stop_signal: int | None = None
        self.metrics = Lines(directory / "metrics.jsonl")
        self.samples = Lines(directory / "samples.jsonl")
        self.timing = Lines(directory / "timing.jsonl")
        self.view = Progress(label, enabled=keeping.progress)
        self._record: dict[str, float] = {}

    # -- randomness -------------------------------------------------------------------------------------------------

    def seed_for(self, *name: str | int) -> int:
        """A seed in [0, 2^63) for a named draw."""
        text = "/".join(str(part) for part in (self.seed, *name))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def random(self, *name: str | int) -> random.Random:
        return random.Random(self.seed_for(*name))

    def shuffled(self, size: int, *name: str | int) -> list[int]:
        """A permutation of range(size) for a named draw."""
        order = list(range(size))
        self.random(*name).shuffle(order)
        return order

    def drawn(self, rows: Sequence[T], count: int, name: str) -> list[T]:
        """`count` of the rows, drawn once for the run; all of them where `count` is 0. A labels budget caps pairs."""
        if name == "pairs" and self.budget is not None and self.budget.unit == "labels":
            count = min(count or len(rows), int(self.budget.amount))
        order = self.shuffled(len(rows), "drawn", name)
        return [rows[i] for i in order[: count or len(rows)]]

    def rows(self, step: int, size: int, batch_size: int) -> list[int]:
        """The rows of `step` in an endless series of shuffled passes over `size` rows."""
        per_pass = max(1, math.ceil(size / batch_size))
        order = self.shuffled(size, "pass", step // per_pass)
        place = step % per_pass
        return order[place * batch_size : (place + 1) * batch_size]

    # -- the loop ---------------------------------------------------------------------------------------------------

    def steps(
        self,
        total: int | Callable[[int], float],
        state: Mapping[str, Stateful],
        *,
        policy: LanguageModel,
        validate: Callable[[LanguageModel], Mapping[str, float]] | None,
    ) -> Iterator[int]:
        """Step numbers, from where the run stands until its budget is used.

        Without a compute budget the run ends after `total` steps, or where `total(step)`, a share, reaches 1.

        After each step its metrics are written, the validation split is looked at where due, and a checkpoint made where
        due. At the end the policy holds the best checkpoint's weights.
        """
        self._share = total if callable(total) else lambda step: step / total
        state = {**state, "meter": self.meter, "selection": self.selection}
        self._labels_before = self.meter.used("labels")
        step = self._restore(state)
        self._advance(step)
        while self.progress < 1.0:
            started = time.monotonic()
            self._record = {}
            yield step
            step += 1
            self._advance(step)
            if validate is not None and self.selection.due(self.progress):
                self._look(step, policy, validate)
            self._write(step, time.monotonic() - started)
            self._keep(step, state)
        self.view.close()
        if validate is not None:
            self._take_best(policy)

    def log(self, values: Mapping[str, float], prefix: str = "") -> None:
        """Adds to the step's record: deterministic values only."""
        self._record.update({prefix + name: float(value) for name, value in values.items()})

    def replay(self, key: str, compute: Callable[[], Any]) -> Any:
        """JSON data written down under `key` before it is used, with what computing it cost: a resumed run reads both."""
        path = self.directory / "journal" / f"{key}.json"
        before = dict(self.meter.counts)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            value = compute()
            used = {name: count - before[name] for name, count in self.meter.counts.items()}
            write_json(path, {"value": value, "used": used})
        entry = read_json(path)
        self.meter.counts = {name: count + entry["used"][name] for name, count in before.items()}
        return entry["value"]

    def score(
        self, reward: Reward, prompts: Sequence[Prompt], completions: Sequence[Completion], *, key: str
    ) -> list[float]:
        """The reward's scores; journalled under `key` where asking again could answer differently."""
        if reward.deterministic:
            return reward.score(prompts, completions)
        return self.replay(key, lambda: reward.score(prompts, completions))

    def checkpoint(self, step: int, state: Mapping[str, Stateful]) -> None:
        tree: dict[str, Any] = {name: part.state_dict() for name, part in state.items()}
        tree["step"] = step
        tree["sizes"] = {"metrics": self.metrics.size(), "samples": self.samples.size()}
        checkpoint.save(self.directory / "checkpoints", step, tree, keep=self.keeping.checkpoints)
        self._kept = time.monotonic()

    # -- inside the loop --------------------------------------------------------------------------------------------

    def _restore(self, state: Mapping[str, Stateful]) -> int:
        self._kept = time.monotonic()
        tree = checkpoint.load_newest(self.directory / "checkpoints")
        if tree is None:
            self.metrics.cut(0)
            self.samples.cut(0)
            return 0
        for name, part in state.items():
            part.load_state_dict(tree[name])
        self.metrics.cut(tree["sizes"]["metrics"])
        self.samples.cut(tree["sizes"]["samples"])
        return int(tree["step"])

    def _advance(self, step: int) -> None:
        if self.budget is None:
            self.progress = self._share(step)
        elif self.budget.unit == "compute":
            self.progress = (self.meter.used("compute") + self.budget.charged) / self.budget.amount
        else:  # labels taken before the loop (pairs) are capped by `drawn`; those of its own samples end the loop
            own = self.meter.used("labels") - self._labels_before
            self.progress = max(self._share(step), own / self.budget.amount)

    def _look(self, step: int, policy: LanguageModel, validate: Callable[[LanguageModel], Mapping[str, float]]) -> None:
        faults.point("validation")
        found = validate(policy)
        self.log(found, "validation/")
        if self.selection.seen(self.progress, step, found["score"]):
            with new_directory(self.directory / "best") as aside:
                weights = {name: part.detach().contiguous() for name, part in trainable(policy.model).items()}
                save_file(weights, aside / "weights.safetensors")

    def _take_best(self, policy: LanguageModel) -> None:
        weights = load_file(self.directory / "best" / "weights.safetensors")
        with torch.no_grad():
            for name, parameter in trainable(policy.model).items():
                parameter.copy_(weights[name])

    def _write(self, step: int, seconds: float) -> None:
        self.metrics.write({"step": step, "progress": self.progress, **self._record, **self.meter.counts})
        faults.point("metrics.written")
        self.timing.write({"step": step, "seconds": round(seconds, 4), "pid": os.getpid()})
        self.view.show(step, self.progress, self._record, self.meter.counts)

    def _keep(self, step: int, state: Mapping[str, Stateful]) -> None:
        if self.stop_signal is not None or time.monotonic() - self._kept >= self.keeping.checkpoint_seconds:
            self.checkpoint(step, state)
        if self.stop_signal is not None:
            raise SystemExit(128 + self.stop_signal)


@contextmanager
def open_run(
    directory: Path,
    manifest: Mapping[str, Any],
    *,
    seed: int,
    budget: Budget | None = None,
    evaluations: int = 1,
    keeping: Keeping | None = None,
    fresh: bool = False,
    label: str = "",
) -> Iterator[Run]:
    """Takes a directory for one run and one writer.

    A directory without preflab's manifest is taken and foreign files in it are left alone; the same manifest resumes;
    another one's is refused (`UserError`). SIGTERM and Ctrl-C end the run at the next step with a checkpoint.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        if fresh:
            clear(directory)
        claim(directory, {"format": FORMAT, **manifest})
        run = Run(
            directory,
            seed=seed,
            budget=budget,
            evaluations=evaluations,
            keeping=keeping or Keeping(),
            label=label or directory.name,
        )
        with stopping(run):
            yield run


@contextmanager
def stopping(run: Run) -> Iterator[None]:
    """While open, SIGTERM and SIGINT ask the run to stop at its next step; a second one ends it at once."""

    def ask(signum: int, frame: object) -> None:
        run.stop_signal = signum
        signal.signal(signum, signal.SIG_DFL)

    before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
